"""Ridge, Procrustes and what all linear maps share."""

from functools import partial

import pytest
import torch
from tiny_tables import related_model, table_model
from torch.nn.functional import cosine_similarity

from fuse_repro.adapters.anchors import Anchors, shared_anchors
from fuse_repro.adapters.linear import LinearMap, ProcrustesMap, RidgeMap, pull_linear
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

TEXT = "An image of a zigzag surfboard next to the dog."
CONFIGS = [
    partial(RidgeMap.fit),
    partial(RidgeMap.fit, centre=False, ridge=0.0),
    partial(ProcrustesMap.fit),
    partial(ProcrustesMap.fit, centre=False),
]
Fit = partial[LinearMap]


@pytest.fixture(scope="module")
def source() -> FrozenModel:
    return table_model("byte_level_bpe", 16)


def pushed(alignment: Alignment, direction: torch.Tensor, embedding_map: LinearMap) -> torch.Tensor:
    """The forward rule that `pull_linear` states, word by word."""
    result = torch.zeros(*alignment.target_ids.shape, embedding_map.target.embedding_size)
    for word in alignment.words:
        mean = direction[word.row, word.source_start : word.source_stop].mean(0)
        result[word.row, word.target_start : word.target_stop] = mean @ embedding_map.weight
    return result


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", [8, 16, 24])
def test_the_pullback_is_the_adjoint_of_the_map(source: FrozenModel, config: Fit, size: int) -> None:
    embedding_map = config(source, table_model("wordpiece", size), ())
    alignment = embedding_map.align([TEXT, "The capital of France"])
    counts = {(word.source_count, word.target_count) for word in alignment.words}
    assert len(counts) > 2
    gradient = torch.randn(*alignment.target_ids.shape, size)
    direction = torch.randn(2, alignment.source_length, 16)
    pulled = embedding_map.pullback(gradient, alignment)
    expected = (gradient * pushed(alignment, direction, embedding_map)).sum()
    torch.testing.assert_close((pulled * direction).sum(), expected, rtol=1e-4, atol=1e-3)


def test_one_token_on_both_sides_gets_the_transfers_own_gradient(source: FrozenModel) -> None:
    embedding_map = RidgeMap.fit(source, table_model("metaspace_bpe", 24), ())
    alignment = embedding_map.align(["the dog"])
    word = alignment.words[-1]
    assert word.source_count == word.target_count == 1
    gradient = torch.randn(1, alignment.target_ids.shape[1], 24)
    prompt = torch.randn(1, 16, requires_grad=True)
    embedding_map.transfer(prompt).backward(gradient[:, word.target_start])
    pulled = embedding_map.pullback(gradient, alignment)[0, word.source_start]
    torch.testing.assert_close(pulled, prompt.grad[0])


def test_transfer_and_pullback_pass_gradcheck(source: FrozenModel) -> None:
    embedding_map = RidgeMap.fit(source, table_model("metaspace_bpe", 24), ())
    alignment = embedding_map.align(["a surfboard"])
    weight = embedding_map.weight.double().requires_grad_(True)
    gradient = torch.randn(1, alignment.target_ids.shape[1], 24, dtype=torch.float64, requires_grad=True)
    prompt = torch.randn(2, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(embedding_map.transfer, prompt)
    assert torch.autograd.gradcheck(lambda g, w: pull_linear(g, alignment, w), (gradient, weight))


def test_ridge_finds_an_affine_map_exactly(source: FrozenModel) -> None:
    target = related_model(source, "metaspace_bpe", 24)
    moved = table_model("metaspace_bpe", 24, table=target.embedding_table() + 3.0)
    anchors = shared_anchors([source, moved])
    x, y = anchors.embeddings([source, moved])
    affine = RidgeMap.fit(source, moved, given=anchors, ridge=0.0)
    torch.testing.assert_close(affine.transfer(x), y, rtol=1e-3, atol=1e-3)
    linear = RidgeMap.fit(source, moved, given=anchors, ridge=0.0, centre=False)
    assert not torch.allclose(linear.transfer(x), y, atol=1e-1)
    damped = RidgeMap.fit(source, moved, given=anchors, ridge=1.0)
    assert damped.weight.norm() < affine.weight.norm()


def test_procrustes_finds_a_rotation_and_keeps_lengths(source: FrozenModel) -> None:
    turn = torch.linalg.qr(torch.randn(16, 16))[0]
    turned = table_model("byte_level_bpe", 16, table=2.5 * source.embedding_table() @ turn)
    prompt = torch.randn(3, 16)
    scaled = ProcrustesMap.fit(source, turned, (), centre=False)
    torch.testing.assert_close(scaled.transfer(prompt), 2.5 * prompt @ turn, rtol=1e-3, atol=1e-3)
    kept = ProcrustesMap.fit(source, turned, (), centre=False, scale=False)
    torch.testing.assert_close(kept.transfer(prompt), prompt @ turn, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [8, 24])
def test_procrustes_is_semi_orthogonal_between_unequal_sizes(source: FrozenModel, size: int) -> None:
    weight = ProcrustesMap.fit(source, table_model("wordpiece", size), (), scale=False).weight
    product = weight @ weight.T if size > 16 else weight.T @ weight
    torch.testing.assert_close(product, torch.eye(min(size, 16)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_prompt_goes_to_its_own_model_unchanged(source: FrozenModel, config: Fit) -> None:
    prompt = torch.randn(3, 16)
    moved = config(source, source, ()).transfer(prompt)
    torch.testing.assert_close(moved, prompt, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("config", CONFIGS)
def test_shuffled_anchors_recover_nothing(source: FrozenModel, config: Fit) -> None:
    anchors = shared_anchors([source, source])
    shuffled = torch.randperm(len(anchors), generator=torch.Generator().manual_seed(0))
    broken = Anchors(anchors.words, (anchors.source_ids, anchors.target_ids[shuffled]))
    prompt = source.embed(anchors.source_ids[:50])
    mean = source.embed(anchors.source_ids).mean(0)
    moved = config(source, source, given=broken).transfer(prompt)
    assert cosine_similarity(moved - mean, prompt - mean).mean() < 0.5


@pytest.mark.parametrize("config", CONFIGS)
def test_the_order_of_the_anchors_changes_nothing(source: FrozenModel, config: Fit) -> None:
    target = table_model("metaspace_bpe", 24)
    anchors = shared_anchors([source, target])
    order = torch.randperm(len(anchors)).tolist()
    first, again = (config(source, target, given=some) for some in (anchors, anchors.take(order)))
    torch.testing.assert_close(first.weight, again.weight, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_used(source: FrozenModel) -> None:
    target = table_model("metaspace_bpe", 24)
    with pytest.raises(UsageError, match=r"adapter\.ridge=-0\.1"):
        RidgeMap.check(ridge=-0.1)
    words = shared_anchors([source, target]).words
    for config in (partial(RidgeMap.fit, exclude=words), partial(ProcrustesMap.fit, exclude=words)):
        with pytest.raises(UsageError, match="share no anchors"):
            config(source, target, ())
    embedding_map = RidgeMap.fit(source, target, ())
    with pytest.raises(UsageError, match=r"shape \(3, 24\).*\[m, 16\]"):
        embedding_map.transfer(torch.zeros(3, 24))
    with pytest.raises(UsageError, match="NaN or infinite values in row 1"):
        embedding_map.transfer(torch.tensor([[0.0] * 16, [float("inf")] * 16]))
