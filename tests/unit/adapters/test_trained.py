"""The trained map: its Jacobian, its training, and what is kept of both."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gpt2
from tiny_tables import related_model, table_model
from tiny_tokenizers import SENTENCES
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fuse_repro.adapters import FirstWords, RidgeMap, TrainedMap, shared_anchors
from fuse_repro.adapters.linear import pull_linear
from fuse_repro.adapters.trained.fitting import LAST
from fuse_repro.adapters.trained.training import WordTraining
from fuse_repro.adapters.trained.words import count, word_groups
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TEXTS = ("An image of a zigzag surfboard", "dog", "The wooden astronauts' table")
QUICK = {"width": 8, "heads": 2, "layers": 1, "steps": 12, "looks": 3, "batch_size": 4, "lr": 0.01}
KINDS = ("transformer", "mlp", "linear")


@pytest.fixture(scope="module")
def source() -> FrozenModel:
    return tiny_gpt2()


@pytest.fixture(scope="module")
def target() -> FrozenModel:
    return tiny_bert_encoder()


@pytest.fixture(scope="module", params=KINDS)
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def fitted(architecture: str, source: FrozenModel, target: FrozenModel) -> TrainedMap:
    return fit(source, target, architecture=architecture)


def fit(source: FrozenModel, target: FrozenModel, **settings: object) -> TrainedMap:
    return TrainedMap.fit(source, target, WORDS, **QUICK | settings)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tensors(fitted: TrainedMap) -> dict[str, Tensor]:
    return fitted.network.state_dict()


def alike(one: TrainedMap, other: TrainedMap) -> bool:
    return all(torch.equal(value, tensors(other)[name]) for name, value in tensors(one).items())


def said(fitted: TrainedMap, embeddings: Tensor, gradient: Tensor) -> Tensor:
    """The inner product of the gradient with what the network says of every word, from its definition."""
    total = embeddings.new_zeros(())
    for word in fitted.align(TEXTS).words:
        rows = embeddings[word.row, word.source_start : word.source_stop]
        out = fitted.network(rows[None], word.target_count)[0]
        total = total + (out * gradient[word.row, word.target_start : word.target_stop]).sum()
    return total


def test_the_pullback_is_autograd_through_the_network_and_finite_differences(fitted: TrainedMap) -> None:
    """At any point, not only at the embeddings of tokens; through `embed` and backward, too."""
    alignment = fitted.align(TEXTS)
    point = (alignment.point + drawn(*alignment.point.shape)).double()
    gradient = drawn(*alignment.target_ids.shape, 32, seed=1).double()
    exact = TrainedMap(fitted.source, fitted.target, fitted.network.double(), fitted.training_cost)
    try:
        pulled = exact.pullback(gradient, replace(alignment, point=point))
        leaf = point.clone().requires_grad_(True)
        (expected,) = torch.autograd.grad(said(exact, leaf, gradient), leaf)
        torch.testing.assert_close(pulled, expected, rtol=1e-10, atol=1e-12)
        way = drawn(*point.shape, seed=2).double()
        ahead, behind = (said(exact, point + sign * 1e-4 * way, gradient) for sign in (1, -1))
        torch.testing.assert_close((pulled * way).sum(), (ahead - behind) / 2e-4, rtol=1e-6, atol=1e-8)
        leaf.grad = None
        (exact.embed(leaf, alignment) * gradient).sum().backward()
        torch.testing.assert_close(leaf.grad, pulled)
    finally:
        fitted.network.float()


def test_every_word_is_taken_at_its_own_point(source: FrozenModel, target: FrozenModel) -> None:
    """Only a transformer's slope depends on where it is taken; a text's own tokens are where `align` puts it."""
    fitted = fit(source, target)
    alignment = fitted.align(TEXTS)
    gradient = drawn(*alignment.target_ids.shape, 32)
    pulled = fitted.pullback(gradient, alignment)
    moved = alignment.point.clone()
    moved[0, 0] += 1
    other = fitted.pullback(gradient, replace(alignment, point=moved))
    assert not torch.allclose(other[0, 0], pulled[0, 0], atol=1e-4)
    assert torch.equal(other[1:], pulled[1:])
    with pytest.raises(UsageError, match="does not say at which embeddings"):
        fitted.pullback(gradient, replace(alignment, point=None))


def test_a_batch_is_its_rows(fitted: TrainedMap) -> None:
    alignment = fitted.align(TEXTS)
    gradient = drawn(*alignment.target_ids.shape, 32)
    together = fitted.pullback(gradient, alignment)
    for row, text in enumerate(TEXTS):
        own = fitted.align([text])
        alone = fitted.pullback(gradient[row : row + 1, : own.target_ids.shape[1]], own)
        torch.testing.assert_close(together[row, : own.source_length], alone[0], rtol=1e-4, atol=1e-6)
        assert not together[row, own.source_length :].any()


def test_a_soft_token_moves_as_a_word_of_one_token(fitted: TrainedMap) -> None:
    prompt = drawn(3, 32)
    torch.testing.assert_close(fitted.transfer(prompt), fitted.network(prompt[:, None], 1)[:, 0])
    assert fitted.transfer(prompt.double()).dtype == torch.float64
    with pytest.raises(UsageError, match="NaN or infinite"):
        fitted.transfer(torch.full((1, 32), float("nan")))


def test_a_linear_one_is_the_adjoint_of_its_weight(source: FrozenModel, target: FrozenModel) -> None:
    fitted = fit(source, target, architecture="linear")
    network = fitted.network
    weight = network.body.weight.T * network.target_scale / network.source_scale
    alignment = fitted.align(TEXTS)
    gradient = drawn(*alignment.target_ids.shape, 32)
    expected = pull_linear(gradient, alignment, weight)
    torch.testing.assert_close(fitted.pullback(gradient, alignment), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("architecture", ["linear", "transformer"])
def test_words_that_are_a_linear_image_are_learnt_as_ridge_learns_them(architecture: str) -> None:
    first = table_model("byte_level_bpe", 12)
    second = related_model(first, "metaspace_bpe", 10)
    anchors = shared_anchors([first, second])
    settings = {
        "steps": 200,
        "batch_size": 32,
        "lr": 0.03,
        "noise": 0.0,
        "weight_decay": 0.0,
        "max_tokens": 1,
    }
    trained = TrainedMap.fit(
        first, second, anchors.words, **QUICK | settings, architecture=architecture, holdout=5
    )
    x, y = anchors.embeddings([first, second])
    ridge = RidgeMap.fit(first, second, given=anchors, ridge=0.0)
    torch.testing.assert_close(ridge.transfer(x), y, atol=1e-3, rtol=1e-3)
    error = float((trained.transfer(x) - y).square().mean() / y.var())
    assert error < 0.02, error
    assert trained.training_cost.held_out_error < 0.1


def test_a_seed_gives_the_same_bytes_and_the_cache_keeps_them(
    architecture: str, fitted: TrainedMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"architecture": architecture, "cache_dir": tmp_path}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = fit(fitted.source, fitted.target, **settings)
    assert alike(again, fitted)
    assert torch.equal(torch.get_rng_state(), before)
    monkeypatch.setattr("fuse_repro.adapters.trained.map.train", lambda *parts: pytest.fail("trained again"))
    found = fit(fitted.source, fitted.target, **settings)
    assert alike(found, fitted)
    assert found.training_cost == again.training_cost


def test_another_seed_and_other_words_give_another_network(source: FrozenModel, target: FrozenModel) -> None:
    first = fit(source, target, architecture="linear")
    assert not alike(fit(source, target, architecture="linear", seed=1), first)
    fewer = TrainedMap.fit(source, target, WORDS[:60], **QUICK, architecture="linear")
    assert not alike(fewer, first)


def test_fewer_words_are_the_first_ones(source: FrozenModel, target: FrozenModel) -> None:
    settings = QUICK | {"architecture": "linear"}
    fewer = FirstWords.fit(source, target, WORDS, first=60, of=partial(TrainedMap.fit, **settings))
    assert alike(fewer, TrainedMap.fit(source, target, WORDS[:60], **settings))
    with pytest.raises(UsageError, match=r"^adapter.first=1000 is not allowed: at most the corpus's"):
        FirstWords.fit(source, target, WORDS, first=1000, of=TrainedMap.fit)


def stopped(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next training end at a step, as a process that is killed."""
    whole: Callable[..., Tensor] = WordTraining.training_step

    def until(self: WordTraining, number: int, batch_idx: int) -> Tensor:
        if number == step:
            raise KeyboardInterrupt
        return whole(self, number, batch_idx)

    looked = WordTraining.look

    def look_until(self: WordTraining) -> None:
        if self.done == step:
            raise KeyboardInterrupt
        looked(self)

    monkeypatch.setattr(WordTraining, "training_step", until)
    monkeypatch.setattr(WordTraining, "look", look_until)


@pytest.mark.parametrize("step", [2, 4, 9, 12])
def test_a_stopped_training_goes_on_as_if_it_had_not_been_stopped(
    step: int, source: FrozenModel, target: FrozenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(source, target)
    with monkeypatch.context() as patch:
        stopped(step, patch)
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            fit(source, target, cache_dir=tmp_path)
    left = list(tmp_path.rglob(LAST))
    assert len(left) == (step >= 4)  # written down every 4 steps
    steps = []
    one_step: Callable[..., Tensor] = WordTraining.training_step
    with monkeypatch.context() as patch:
        patch.setattr(
            WordTraining,
            "training_step",
            lambda self, number, batch: (steps.append(int(number)), one_step(self, number, batch))[1],
        )
        resumed = fit(source, target, cache_dir=tmp_path)
    assert steps == list(range(step - step % 4, 12))
    assert alike(resumed, whole)
    ours, theirs = resumed.training_cost, whole.training_cost
    assert replace(ours, seconds=0.0) == replace(theirs, seconds=0.0)
    assert not list(tmp_path.rglob("*.training"))


def test_a_damaged_checkpoint_is_said_and_training_starts_anew(
    source: FrozenModel,
    target: FrozenModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        stopped(9, patch)
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            fit(source, target, cache_dir=tmp_path)
    (left,) = tmp_path.rglob(LAST)
    content = bytearray(left.read_bytes())
    content[len(content) // 2] ^= 0xFF
    left.write_bytes(content)
    assert alike(fit(source, target, cache_dir=tmp_path), fit(source, target))
    assert "training starts anew" in capsys.readouterr().err


@pytest.mark.parametrize(("lr", "architecture"), [(1e30, "linear"), (30.0, "mlp")])
def test_training_that_diverges_is_one_line_and_leaves_nothing(
    lr: float, architecture: str, source: FrozenModel, target: FrozenModel, tmp_path: Path
) -> None:
    message = r"^training the map diverged by step \d+ of 12 \(loss .*\): lower adapter.lr="
    with pytest.raises(UsageError, match=message) as caught:
        fit(source, target, architecture=architecture, lr=lr, cache_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.training"))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_cost_is_that_of_the_passes(source: FrozenModel, target: FrozenModel) -> None:
    """Seconds, and the operations of 12 batches of 4 words, counted again from outside."""
    fitted = fit(source, target, architecture="linear")
    with FlopCounterMode(display=False) as counter:
        torch.nn.Linear(32, 32)(torch.zeros(48, 32)).sum().backward()
    cost = fitted.training_cost
    assert cost.flops == counter.get_total_flops()
    assert cost.seconds > 0
    assert (cost.steps, fitted.fit_cost["flops"]) == (12, cost.flops)
    assert cost.words == count(word_groups(source, target, WORDS, 4, 500, 0)[0])
    deeper = fit(source, target, layers=2).training_cost
    assert deeper.flops > fit(source, target).training_cost.flops > cost.flops


def test_the_words_that_are_learnt_from(source: FrozenModel, target: FrozenModel) -> None:
    rest, held = word_groups(source, target, (*WORDS, *WORDS), 2, 3, 0)
    assert all(max(shape) <= 2 for shape in (*rest, *held))
    assert count(held) == 3
    for (s, t), group in rest.items():
        assert (group.source.shape[1], group.target.shape[1]) == (s, t)
    everything = [tuple(ids) for part in (rest, held) for own in part.values() for ids in own.source.tolist()]
    wanted = zip(source.tokenizer.word_ids(WORDS), target.tokenizer.word_ids(WORDS), strict=True)
    assert sorted(everything) == sorted(s for s, t in wanted if max(len(s), len(t)) <= 2)
    with pytest.raises(UsageError, match=r"^1 words of the corpus have 1 to 4 tokens in both .*max_tokens$"):
        word_groups(source, target, ["dog"], 4, 3, 0)


def test_words_longer_than_those_learnt_from_have_a_gradient_too(
    source: FrozenModel, target: FrozenModel
) -> None:
    fitted = fit(source, target, max_tokens=1)
    alignment = fitted.align(TEXTS)
    assert max(word.source_count for word in alignment.words) > 1
    pulled = fitted.pullback(drawn(*alignment.target_ids.shape, 32), alignment)
    assert all(pulled[word.row, word.source_start].any() for word in alignment.words)
