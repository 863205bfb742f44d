"""The maps that add to ridge what it leaves of the shared words: sparse and local."""

from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_tables import related_model, table_model

from fuse_repro.adapters import LocalMap, RidgeMap, SparseMap, shared_anchors
from fuse_repro.adapters.residuals import ResidualMap
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

EXACT = {
    "sparse": partial(SparseMap.fit),
    "sparse_plain": partial(SparseMap.fit, whiten=False, centre=False),
    "sparse_sums": partial(SparseMap.fit, non_negative=True),
    "sparse_words_only": partial(SparseMap.fit, remainder=False),
    "local": partial(LocalMap.fit, noise=0.0),
    "local_growing": partial(LocalMap.fit, noise=0.0, noise_growth=1.0, centre=False),
}
TEXTS = ["An image of a zigzag surfboard next to the dog.", "The capital of France"]
Fit = partial[ResidualMap]


@pytest.fixture(scope="module")
def source() -> FrozenModel:
    return table_model("byte_level_bpe", 16)


@pytest.fixture(scope="module")
def target() -> FrozenModel:
    return table_model("metaspace_bpe", 24)


@pytest.mark.parametrize("name", EXACT)
def test_shared_words_arrive_as_themselves(name: str, source: FrozenModel, target: FrozenModel) -> None:
    x, y = shared_anchors([source, target]).embeddings([source, target])
    torch.testing.assert_close(EXACT[name](source, target).transfer(x), y, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(RidgeMap.fit(source, target).transfer(x), y, atol=0.5)


@pytest.mark.parametrize("name", EXACT)
def test_a_prompt_goes_to_its_own_model_unchanged(name: str, source: FrozenModel) -> None:
    prompt = source.embedding_table()[:3] + 0.1
    moved = EXACT[name](source, source).transfer(prompt)
    if name == "sparse_words_only":  # what four words do not say is lost
        assert not torch.allclose(moved, prompt, atol=2e-2)
    else:
        torch.testing.assert_close(moved, prompt, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("size", [8, 24])
def test_the_pullback_is_the_adjoint_of_the_linear_part(name: str, size: int, source: FrozenModel) -> None:
    target = table_model("wordpiece", size)
    fitted = EXACT[name](source, target)
    centre = "plain" not in name and "growing" not in name
    ridge = RidgeMap.fit(source, target, centre=centre, trained_only=True)
    torch.testing.assert_close(fitted.weight, ridge.weight)
    alignment = fitted.align(TEXTS)
    gradient = torch.randn(*alignment.target_ids.shape, size, generator=torch.Generator().manual_seed(0))
    pulled = fitted.pullback(gradient, alignment)
    torch.testing.assert_close(pulled, ridge.pullback(gradient, alignment))
    word = next(one for one in alignment.words if one.source_count == one.target_count == 1)
    wanted = gradient[word.row, word.target_start] @ fitted.weight.T
    torch.testing.assert_close(pulled[word.row, word.source_start], wanted)


@pytest.mark.parametrize("name", EXACT)
def test_rows_do_not_depend_on_each_other(name: str, source: FrozenModel, target: FrozenModel) -> None:
    fitted = EXACT[name](source, target)
    prompt = torch.randn(20, 16, generator=torch.Generator().manual_seed(5))
    together = fitted.transfer(prompt)
    alone = torch.cat([fitted.transfer(row[None]) for row in prompt])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
    assert torch.equal(fitted.transfer(prompt), together)
    again = EXACT[name](source, target).transfer(prompt)
    assert torch.equal(again, together)
    assert together.dtype == prompt.dtype
    assert fitted.transfer(prompt.double()).dtype == torch.float64


@pytest.mark.parametrize("name", EXACT)
def test_the_order_of_the_anchors_changes_nothing(
    name: str, source: FrozenModel, target: FrozenModel
) -> None:
    anchors = shared_anchors([source, target], trained_only=True)
    order = torch.randperm(len(anchors), generator=torch.Generator().manual_seed(0)).tolist()
    prompt = torch.randn(4, 16, generator=torch.Generator().manual_seed(5))
    first, again = (
        EXACT[name](source, target, given=some).transfer(prompt) for some in (anchors, anchors.take(order))
    )
    torch.testing.assert_close(again, first, rtol=1e-3, atol=1e-3)


def test_a_sum_of_words_arrives_as_the_sum_of_these_words(source: FrozenModel, target: FrozenModel) -> None:
    anchors = shared_anchors([source, target])
    x, y = anchors.embeddings([source, target])
    fitted = SparseMap.fit(source, target, given=anchors, centre=False, whiten=False, atoms=2)
    weights = torch.tensor([1.0, 0.1])
    places, found = fitted.parts((weights @ x[[3, 8]])[None].double())
    assert places[0].tolist() == [3, 8]
    torch.testing.assert_close(found[0].float(), weights, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        fitted.transfer((weights @ x[[3, 8]])[None])[0], weights @ y[[3, 8]], rtol=1e-3, atol=1e-3
    )


def test_far_from_all_words_the_local_map_is_ridge(source: FrozenModel, target: FrozenModel) -> None:
    ridge, local = RidgeMap.fit(source, target), LocalMap.fit(source, target, trained_only=False)
    far = 50 * torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(local.transfer(far), ridge.transfer(far))
    x = shared_anchors([source, target]).embeddings([source, target])[0]
    beside = x[:5] + 0.1 * local.unit / 4
    quiet = LocalMap.fit(source, target, trained_only=False, noise_growth=100.0)
    steps = [(one.transfer(beside) - ridge.transfer(beside)).norm() for one in (local, quiet)]
    assert steps[0] > steps[1] > 0
    wide = LocalMap.fit(source, target, trained_only=False, width=2.0)
    assert not torch.allclose(wide.transfer(beside), local.transfer(beside), atol=1e-3)


def test_few_neighbours_are_enough_where_the_kernel_is_narrow(
    source: FrozenModel, target: FrozenModel
) -> None:
    x, y = shared_anchors([source, target]).embeddings([source, target])
    one = LocalMap.fit(source, target, noise=0.0, width=0.2, neighbours=1)
    torch.testing.assert_close(one.transfer(x), y, rtol=1e-3, atol=1e-3)


def test_words_that_are_an_affine_image_need_no_correction(source: FrozenModel) -> None:
    other = related_model(source, "metaspace_bpe", 24)
    prompt = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    ridge = RidgeMap.fit(source, other, ridge=0.0, trained_only=True).transfer(prompt)
    for fit in (SparseMap.fit, LocalMap.fit):
        torch.testing.assert_close(
            fit(source, other, ridge=0.0).transfer(prompt), ridge, rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("kind", [SparseMap, LocalMap])
def test_a_fit_is_kept_and_found_again(
    kind: type[SparseMap] | type[LocalMap], source: FrozenModel, target: FrozenModel, tmp_path: Path
) -> None:
    prompt = torch.randn(3, 16)
    first = kind.fit(source, target, cache_dir=tmp_path).transfer(prompt)
    files = sorted((tmp_path / "adapters").glob("*.safetensors"))
    times = [path.stat().st_mtime_ns for path in files]
    assert torch.equal(kind.fit(source, target, cache_dir=tmp_path).transfer(prompt), first)
    assert [path.stat().st_mtime_ns for path in files] == times
    kind.fit(source, target, cache_dir=tmp_path, ridge=0.5)
    assert len(list((tmp_path / "adapters").glob("*.safetensors"))) == len(files) + 1
    files[0].write_bytes(b"damaged")
    assert torch.equal(kind.fit(source, target, cache_dir=tmp_path).transfer(prompt), first)


def test_what_cannot_be_used(source: FrozenModel, target: FrozenModel) -> None:
    anchors = shared_anchors([source, target])
    for kind in (SparseMap, LocalMap):
        with pytest.raises(UsageError, match="share no anchors"):
            kind.fit(source, target, exclude=anchors.words)
        with pytest.raises(UsageError, match="NaN or infinite values in row 1"):
            kind.fit(source, target).transfer(torch.tensor([[0.0] * 16, [float("nan")] * 16]))
        with pytest.raises(UsageError, match=r"adapter\.ridge=-0\.1"):
            kind.check(ridge=-0.1)
    with pytest.raises(UsageError, match="share 1 anchor, and a local correction needs neighbours"):
        LocalMap.fit(source, target, given=anchors.take([0]))
    assert len(SparseMap.fit(source, target, given=anchors.take([0, 1])).words) == 2
