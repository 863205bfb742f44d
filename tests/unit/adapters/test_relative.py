"""Relative prompt transfer: closed form, Adam, lengths, several sources, gradients."""

import math
from itertools import permutations
from typing import Any

import pytest
import torch
from tiny_tables import related_model, table_model
from torch.nn.functional import cosine_similarity, normalize

from fuse_repro.adapters.anchors import Anchors, shared_anchors
from fuse_repro.adapters.relative.module import PAPER, RelativePromptTransfer
from fuse_repro.adapters.relative.space import (
    anchor_space,
    closed_form,
    encode,
    masked_grams,
    rescale,
    top_mask,
)
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

Settings = dict[str, Any]
EXACT: Settings = {"ridge": 0.0}
ADAM: Settings = {"solver": "adam", "steps": 400, "lr": 5e-2, "ridge": 0.0, "rescale": "off"}


@pytest.fixture(scope="module")
def source() -> FrozenModel:
    return table_model("byte_level_bpe", 16)


@pytest.fixture(scope="module")
def target(source: FrozenModel) -> FrozenModel:
    return related_model(source, "metaspace_bpe", 24, noise=0.3)


@pytest.fixture(scope="module")
def second() -> FrozenModel:
    return table_model("metaspace_unigram", 12, seed=5)


def fit(source: Any, target: FrozenModel, settings: Settings = EXACT, **more: Any) -> RelativePromptTransfer:
    """Of one source or several, with these settings changed."""
    return RelativePromptTransfer.fit(source, target, **(settings | more))


def prompt_of(model: FrozenModel, rows: int = 4, seed: int = 0) -> torch.Tensor:
    """Rows near embeddings of the model, as tuned prompts that started from words are."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(10, model.tokenizer.vocab_size, (rows,), generator=generator)
    return model.embed(ids) + 0.1 * torch.randn(rows, model.embedding_size, generator=generator)


def orthogonal(size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(9)))[0]


@pytest.mark.parametrize("frame", [{"centre": False}, {"centre": True}, {"centre": True, "whiten": True}])
@pytest.mark.parametrize("k", [None, 100, 20])
def test_a_prompt_goes_to_its_own_model_unchanged(source: FrozenModel, frame: dict, k: int | None) -> None:
    transfer = fit(source, source, EXACT, k=k, **frame)
    prompt = prompt_of(source)
    result = transfer.solve([prompt])
    torch.testing.assert_close(result.prompt, prompt, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(result.matching_loss, torch.zeros(4).double(), atol=1e-8, rtol=0)


def test_whitened_words_arrive_at_their_images_through_any_linear_map(source: FrozenModel) -> None:
    image = related_model(source, "metaspace_bpe", 16)

    def cosine(config: Settings) -> float:
        transfer = fit(source, image, config)
        s, t = (ids[:60] for ids in transfer.anchors.ids)
        centre = transfer.space(-1).centre
        return float(
            cosine_similarity(transfer.transfer(source.embed(s)) - centre, image.embed(t) - centre).mean()
        )

    assert cosine(EXACT | {"whiten": True}) > 0.9999
    assert cosine(EXACT) < 0.9, "plain cosines are kept by rotations only"


def test_whitening_undoes_itself_and_any_linear_change() -> None:
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(50, 8, generator=generator).double() * torch.linspace(0.1, 3, 8) + 2.0
    space = anchor_space(anchors, centre=True, whiten=True)
    framed = space.enter(anchors)
    torch.testing.assert_close(framed.T @ framed / 50, torch.eye(8).double())
    torch.testing.assert_close(space.leave(framed) + space.centre, anchors)
    mixing = torch.randn(8, 8, generator=generator).double()
    mixed = anchor_space(anchors @ mixing, centre=True, whiten=True)
    torch.testing.assert_close(encode(anchors @ mixing, mixed), encode(anchors, space))
    plain, plain_mixed = (anchor_space(some, centre=True) for some in (anchors, anchors @ mixing))
    assert not torch.allclose(encode(anchors @ mixing, plain_mixed), encode(anchors, plain), atol=0.1)


def test_shuffled_anchors_recover_nothing(source: FrozenModel) -> None:
    anchors = shared_anchors([source, source])
    shuffled = torch.randperm(len(anchors), generator=torch.Generator().manual_seed(0))
    broken = Anchors(anchors.words, (anchors.source_ids, anchors.target_ids[shuffled]))
    prompt = prompt_of(source)
    result = fit(source, source, given=broken).solve([prompt])
    assert result.matching_loss.min() > 0.3
    offset = source.embed(anchors.source_ids).mean(0)
    assert cosine_similarity(result.prompt - offset, prompt - offset).abs().max() < 0.7


@pytest.mark.parametrize("config", [EXACT, EXACT | {"k": 60}, EXACT | {"centre": False}])
def test_the_closed_form_is_where_adam_goes(
    source: FrozenModel, target: FrozenModel, config: Settings
) -> None:
    prompt = prompt_of(source)
    exact = fit(source, target, config).solve([prompt])
    searched = fit(source, target, config, solver="adam", steps=500, lr=5e-2).solve([prompt])
    assert (exact.matching_loss <= searched.matching_loss + 1e-6).all()
    assert (searched.matching_loss - exact.matching_loss).max() < 1e-3
    centre = fit(source, target, EXACT).space(-1).centre if config.get("centre", True) else 0.0
    assert cosine_similarity(exact.prompt - centre, searched.prompt - centre).min() > 0.95


def test_nothing_near_the_closed_form_is_better(source: FrozenModel, target: FrozenModel) -> None:
    transfer = fit(source, target, EXACT, k=60)
    problem, _ = transfer._problem([prompt_of(source)])
    best = transfer.solve([prompt_of(source)]).prompt.double()
    lowest = problem.losses(best)[0]
    for step in (1e-3, 1e-1, 10.0):
        for _ in range(20):
            assert (problem.losses(best + step * torch.randn_like(best))[0] >= lowest - 1e-6).all()


def test_only_the_direction_of_a_row_decides_the_direction_it_gets(
    source: FrozenModel, target: FrozenModel
) -> None:
    transfer = fit(source, target, EXACT, centre=False, ridge=0.1)
    prompt = prompt_of(source)
    scales = torch.tensor([[0.01], [1.0], [3.0], [100.0]])
    torch.testing.assert_close(transfer.transfer(scales * prompt), scales * transfer.transfer(prompt))
    centred = fit(source, target, EXACT, ridge=0.1)
    centres = [centred.space(place).centre.float() for place in (0, -1)]
    moved = centred.transfer(centres[0] + scales * (prompt - centres[0])) - centres[1]
    torch.testing.assert_close(moved, scales * (centred.transfer(prompt) - centres[1]), rtol=1e-4, atol=1e-4)
    plain = centred.transfer(2 * prompt) - centres[1]
    assert not torch.allclose(normalize(plain), normalize(centred.transfer(prompt) - centres[1]), atol=1e-2)


@pytest.mark.parametrize(
    "config",
    [EXACT, EXACT | {"k": 60, "ridge": 0.1}, EXACT | {"centre": False}, EXACT | {"whiten": True, "k": 60}],
)
def test_rotating_a_space_rotates_its_side_only(
    source: FrozenModel, target: FrozenModel, config: Settings
) -> None:
    prompt = prompt_of(source)
    plain = fit(source, target, config).transfer(prompt)
    turn = orthogonal(24)
    turned = table_model("metaspace_bpe", 24, table=target.embedding_table() @ turn)
    torch.testing.assert_close(
        fit(source, turned, config).transfer(prompt), plain @ turn, rtol=1e-3, atol=1e-3
    )
    turn = orthogonal(16)
    turned = table_model("byte_level_bpe", 16, table=source.embedding_table() @ turn)
    torch.testing.assert_close(
        fit(turned, target, config).transfer(prompt @ turn), plain, rtol=1e-3, atol=1e-3
    )
    # A stretch changes cosines, unless the anchors are whitened.
    stretch = torch.linspace(0.2, 5, 16)
    stretched = table_model("byte_level_bpe", 16, table=source.embedding_table() * stretch)
    moved = fit(stretched, target, config).transfer(prompt * stretch)
    assert torch.allclose(moved, plain, atol=1e-3) == config.get("whiten", False)


@pytest.mark.parametrize("k", [None, 60])
def test_the_order_of_the_anchors_changes_nothing(
    source: FrozenModel, target: FrozenModel, k: int | None
) -> None:
    anchors = shared_anchors([source, target])
    order = torch.randperm(len(anchors), generator=torch.Generator().manual_seed(0)).tolist()
    config = EXACT | {"k": k, "ridge": 0.01}
    both = [fit(source, target, config, given=some) for some in (anchors, anchors.take(order))]
    first, again = (transfer.transfer(prompt_of(source)) for transfer in both)
    torch.testing.assert_close(first, again, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [EXACT | {"k": 60, "ridge": 0.1}, ADAM | {"ridge": 0.0, "steps": 300}])
def test_rows_are_treated_one_by_one(source: FrozenModel, target: FrozenModel, config: Settings) -> None:
    transfer = fit(source, target, config)
    prompt = prompt_of(source)
    together = transfer.transfer(prompt)
    for row in range(len(prompt)):
        alone = transfer.transfer(prompt[row : row + 1])[0]
        assert cosine_similarity(alone, together[row], dim=0) > 0.99


def test_a_mask_keeps_the_highest_cosines() -> None:
    scores = torch.tensor([[0.1, -0.9, 0.5, 0.3], [4.0, 3.0, 2.0, 1.0]])
    assert top_mask(scores, 2).tolist() == [[False, False, True, True], [True, True, False, False]]
    assert top_mask(scores, None).all()


def test_gram_matrices_of_overlapping_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(40, 6, generator=generator).double()
    mask = torch.rand(4, 40, generator=generator) < 0.5
    mask[3] = mask[0]
    expected = torch.stack([directions[row].T @ directions[row] for row in mask])
    torch.testing.assert_close(masked_grams(directions, mask), expected)


def test_rows_beyond_one_block_are_solved_too(source: FrozenModel, target: FrozenModel) -> None:
    transfer = fit(source, target, EXACT, k=60, ridge=0.1)
    prompt = prompt_of(source, rows=12)
    for row, moved in enumerate(transfer.transfer(prompt)):
        torch.testing.assert_close(moved, transfer.transfer(prompt[row : row + 1])[0])


def test_fewer_anchors_than_dimensions_still_match_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    space = anchor_space(torch.randn(6, 10, generator=generator), centre=False)
    relative = torch.rand(3, 6, generator=generator).double()
    (found,) = closed_form(relative, top_mask(relative, None), space, [0.0])
    torch.testing.assert_close(normalize(encode(found, space)), normalize(relative))


def test_a_ridge_leads_from_the_optimum_to_the_gradient(source: FrozenModel, target: FrozenModel) -> None:
    prompt = prompt_of(source)
    losses = [
        float(fit(source, target, EXACT, ridge=ridge).solve([prompt]).matching_loss.mean())
        for ridge in (0.0, 0.01, 0.1, 1.0, 100.0)
    ]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0] + 1e-3


def test_sources_in_any_order_give_the_same_bits(
    source: FrozenModel, target: FrozenModel, second: FrozenModel
) -> None:
    sources = [source, second, table_model("wordpiece", 20, seed=7)]
    prompts = [prompt_of(model, seed=3) for model in sources]
    weights = (1.0, 0.3, 2.0)
    for config in (EXACT | {"k": 60, "ridge": 0.01}, ADAM | {"k": 60, "steps": 20}):
        results = []
        for order in permutations(range(3)):
            ordered = config | {"weights": [weights[place] for place in order]}
            transfer = fit([sources[place] for place in order], target, ordered)
            results.append(transfer.transfer_all([prompts[place] for place in order]))
        assert all(torch.equal(results[0], other) for other in results)
        other = fit(sources, target, config, weights=weights[::-1]).transfer_all(prompts)
        assert not torch.allclose(other, results[0])


def test_two_prompts_of_one_model_are_two_sources(source: FrozenModel, target: FrozenModel) -> None:
    transfer = fit([source, source], target, EXACT, ridge=0.1)
    single = fit(source, target, EXACT, ridge=0.1)
    prompts = [prompt_of(source, seed=seed) for seed in (0, 1)]
    assert torch.equal(transfer.transfer_all(prompts), transfer.transfer_all(prompts[::-1]))
    torch.testing.assert_close(transfer.transfer_all(prompts[:1] * 2), single.transfer(prompts[0]))


def test_two_sources_lie_between_and_match_eq_7_best(
    source: FrozenModel, target: FrozenModel, second: FrozenModel
) -> None:
    prompts = [prompt_of(source), prompt_of(second)]
    both = fit([source, second], target, EXACT)
    exact = both.solve(prompts)
    assert len(exact.terms) == 2
    torch.testing.assert_close(exact.matching_loss, torch.stack(list(exact.terms.values())).sum(0))
    searched = fit([source, second], target, ADAM, steps=500).solve(prompts)
    assert (exact.matching_loss <= searched.matching_loss + 1e-6).all()
    one_sided = fit([source, second], target, EXACT, weights=(1.0, 0.0)).transfer_all(prompts)
    words = both.anchors
    alone = fit(source, target, given=Anchors(words.words, words.ids[::2]))
    torch.testing.assert_close(one_sided, alone.transfer(prompts[0]))


def test_rescaling(source: FrozenModel, target: FrozenModel) -> None:
    table = target.embedding_table()
    prompt = prompt_of(source)
    for config in (EXACT | {"rescale": "after"}, ADAM | {"rescale": "in_loop", "steps": 50}):
        moved = fit(source, target, config).transfer(prompt)
        torch.testing.assert_close(moved.mean(), table.mean(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(moved.std(correction=0), table.std(correction=0), rtol=1e-3, atol=1e-3)
    plain = fit(source, target, EXACT)
    after = fit(source, target, EXACT, rescale="after").transfer(prompt)
    torch.testing.assert_close(after, rescale(plain.transfer(prompt), *plain.statistics))
    bare = fit(source, target, EXACT, add_mean=False).transfer(prompt)
    torch.testing.assert_close(bare + plain.space(-1).centre.float(), plain.transfer(prompt))


def test_lengths_follow_the_source(source: FrozenModel, target: FrozenModel) -> None:
    """A row that is as long as the source's anchors on average becomes as long as the target's."""
    transfer = fit(source, target, EXACT, ridge=0.1)
    s, t = transfer.space(0), transfer.space(-1)
    rows = s.centre + 1.5 * s.length * s.directions[:5]
    lengths = (transfer.transfer(rows.float()) - t.centre).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((5,), 1.5 * t.length).double(), rtol=1e-4, atol=1e-4)


def test_adam_records_its_way_and_repeats_it(source: FrozenModel, target: FrozenModel) -> None:
    prompt = prompt_of(source)
    config = ADAM | {"steps": 60}
    runs = [fit(source, target, config, seed=seed).solve([prompt]) for seed in (0, 0, 1)]
    assert torch.equal(runs[0].prompt, runs[1].prompt)
    assert not torch.equal(runs[0].prompt, runs[2].prompt)
    curve = runs[0].curve
    assert curve.shape == (61,)
    assert curve[-1] < curve[0]
    assert runs[0].step == int(curve.argmin())
    torch.testing.assert_close(runs[0].matching_loss.mean(), curve.min().double(), rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(fit(source, target, config).solve([prompt]).prompt, runs[0].prompt)


def test_which_step_is_returned(source: FrozenModel, target: FrozenModel) -> None:
    prompt = prompt_of(source)
    seen: list[torch.Tensor] = []

    def prefers_the_third(candidate: torch.Tensor) -> float:
        seen.append(candidate)
        return 1.0 if len(seen) == 3 else 0.0

    config = ADAM | {"steps": 50, "check_every": 20, "rescale": "after"}
    last = fit(source, target, config, select="last").solve([prompt])
    assert last.step == 50
    dev = fit(source, target, config, select="dev").solve([prompt], prefers_the_third)
    assert [step for step, _, _ in dev.scores] == [0, 20, 40, 50]
    assert dev.step == 40
    assert torch.equal(dev.prompt, seen[2])
    seen.clear()
    watched = fit(source, target, config, select="last").solve([prompt], prefers_the_third)
    assert torch.equal(watched.prompt, last.prompt), "a score that does not select must not change anything"
    assert [loss for _, loss, _ in watched.scores] == [float(last.curve[step]) for step in (0, 20, 40, 50)]


@pytest.mark.parametrize("whiten", [False, True])
def test_the_pullback_is_the_adjoint_of_its_linear_map(
    source: FrozenModel, target: FrozenModel, whiten: bool
) -> None:
    transfer = fit(source, target, EXACT, ridge=0.1, whiten=whiten)
    rows = source.embed(transfer.anchors.source_ids[:30])
    s, t = transfer.space(0), transfer.space(-1)
    linear = (rows.double() - s.centre) @ transfer.weight.double()
    moved = transfer.transfer(rows).double() - t.centre
    assert cosine_similarity(linear, moved).min() > 1 - 1e-5, (
        "the linear map and the transfer agree in direction"
    )
    alignment = transfer.align(["the dog"])
    word = alignment.words[-1]
    assert word.source_count == word.target_count == 1
    gradient = torch.randn(1, alignment.target_ids.shape[1], 24)
    pulled = transfer.pullback(gradient, alignment)
    direction = torch.randn(16)
    expected = gradient[0, word.target_start] @ (direction @ transfer.weight)
    torch.testing.assert_close(pulled[0, word.source_start] @ direction, expected)


def test_a_pullback_from_its_own_model_is_the_gradient(source: FrozenModel) -> None:
    for config in (EXACT, EXACT | {"whiten": True}):
        transfer = fit(source, source, config)
        torch.testing.assert_close(transfer.weight, torch.eye(16), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"k": 0}, r"adapter\.k=0"),
        ({"ridge": -1.0}, r"adapter\.ridge=-1"),
        ({"lr": 0.0}, r"adapter\.lr"),
        ({"steps": 0}, r"adapter\.steps=0"),
        ({"solver": "sgd"}, r"adapter\.solver='sgd'.*closed_form, adam"),
        ({"rescale": "before"}, r"adapter\.rescale.*after, in_loop, off"),
        ({"select": "best"}, r"adapter\.select.*last, matching_loss, dev"),
        ({"rescale": "in_loop"}, r"the closed form has no steps; set adapter\.solver=adam"),
        ({"select": "dev"}, r"the closed form has no steps"),
    ],
)
def test_settings_out_of_range(setting: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RelativePromptTransfer.check(**setting)


def test_what_cannot_be_transferred(source: FrozenModel, target: FrozenModel, second: FrozenModel) -> None:
    many = len(shared_anchors([source, target]))
    with pytest.raises(UsageError, match=rf"adapter\.k=8192 is not allowed.*share {many} anchors"):
        fit(source, target, PAPER)
    with pytest.raises(UsageError, match="share no anchors"):
        fit(source, target, EXACT, exclude=shared_anchors([source, target]).words)
    for weights in ((1.0,), (0.0, 0.0), (1.0, -1.0), (1.0, math.inf)):
        with pytest.raises(UsageError, match=r"adapter\.weights.*2 finite numbers"):
            fit([source, second], target, EXACT, weights=weights)
    both = fit([source, second], target, EXACT)
    prompts = [prompt_of(source), prompt_of(second)]
    with pytest.raises(UsageError, match="1 prompts for 2 sources"):
        both.transfer(prompts[0])
    with pytest.raises(UsageError, match=r"have m = 4, 3 rows.*same m"):
        both.transfer_all([prompts[0], prompts[1][1:]])
    with pytest.raises(UsageError, match=r"shape \(4, 12\).*\[m, 16\]"):
        both.transfer_all(prompts[::-1])
    with pytest.raises(UsageError, match="one source only"):
        both.weight
    single = fit(source, target, EXACT)
    prompts[0][2, 5] = math.nan
    with pytest.raises(UsageError, match=r"byte_level_bpe_16_0 has NaN or infinite values in row 2"):
        single.transfer(prompts[0])
    with pytest.raises(UsageError, match=r"shape \(0, 16\)"):
        single.transfer(torch.zeros(0, 16))
    with pytest.raises(UsageError, match="needs a score on labelled dev data"):
        fit(source, target, ADAM, select="dev").transfer(prompt_of(source))
