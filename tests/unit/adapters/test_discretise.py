"""Prompt rows as their nearest words."""

import pytest
import torch
from tiny_tables import table_model

from fuse_repro.adapters.anchors import shared_anchors
from fuse_repro.adapters.discretise import DiscretisedMap
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel


@pytest.fixture(scope="module")
def source() -> FrozenModel:
    return table_model("byte_level_bpe", 16)


@pytest.fixture(scope="module")
def target() -> FrozenModel:
    return table_model("wordpiece", 24)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_shared_words_become_the_targets_own_embedding(
    source: FrozenModel, target: FrozenModel, distance: str
) -> None:
    anchors = shared_anchors([source, target])
    noise = 0.1 * torch.randn(len(anchors), 16, generator=torch.Generator().manual_seed(0))
    moved = DiscretisedMap.fit(source, target, (), distance=distance).transfer(
        source.embed(anchors.source_ids) + noise
    )
    assert torch.equal(moved, target.embed(anchors.target_ids))


def test_scale_matters_to_euclidean_distance_only(source: FrozenModel, target: FrozenModel) -> None:
    prompt = source.embedding_table()[40:80] * 0.05
    plain = [
        DiscretisedMap.fit(source, target, (), distance=distance) for distance in ("cosine", "euclidean")
    ]
    assert plain[0].target_ids(prompt) == plain[0].target_ids(20 * prompt)
    assert plain[1].target_ids(prompt) != plain[1].target_ids(20 * prompt)


def test_a_token_that_the_target_writes_with_several_becomes_their_mean(source: FrozenModel) -> None:
    coarse = table_model("metaspace_unigram", 12)
    mean, first = (DiscretisedMap.fit(source, coarse, (), several=several) for several in ("mean", "first"))
    rows = source.embedding_table()[300:500].split(1)
    prompt = next(row for row in rows if len(mean.target_ids(row)[0]) > 1)
    (ids,) = mean.target_ids(prompt)
    pieces = coarse.embed(torch.tensor(ids))
    torch.testing.assert_close(mean.transfer(prompt)[0], pieces.mean(0))
    assert torch.equal(first.transfer(prompt)[0], pieces[0])


def test_spaces_are_kept_apart(source: FrozenModel, target: FrozenModel) -> None:
    bpe = table_model("metaspace_bpe", 8)
    embedding_map = DiscretisedMap.fit(source, bpe, ())
    vocabulary = source.tokenizer.tokenizer.get_vocab()
    spaced = source.embed(torch.tensor([vocabulary["Ġa"]]))
    bare = source.embed(torch.tensor([vocabulary["a"]]))
    names = bpe.tokenizer.tokenizer.convert_ids_to_tokens
    assert names(embedding_map.target_ids(spaced)[0]) == ["▁a"]
    assert names(embedding_map.target_ids(bare)[0]) == ["a"]


def test_special_tokens_are_never_the_nearest(target: FrozenModel) -> None:
    source = table_model("wordpiece", 16)
    special = sorted(source.tokenizer.special_ids)
    ids = DiscretisedMap.fit(source, target, ()).target_ids(source.embed(torch.tensor(special)))
    assert all(target.tokenizer.special_ids.isdisjoint(row) for row in ids)


def test_the_same_model_keeps_its_words(source: FrozenModel) -> None:
    ids = torch.tensor(source.tokenizer.encode([" The old bridge crosses a lake"])[0])
    prompt = source.embed(ids)
    assert torch.equal(DiscretisedMap.fit(source, source, ()).transfer(prompt), prompt)


def test_its_derivative_is_zero(source: FrozenModel, target: FrozenModel) -> None:
    embedding_map = DiscretisedMap.fit(source, target, ())
    assert isinstance(embedding_map, DiscretisedMap)
    alignment = embedding_map.align(["the dog"])
    pulled = embedding_map.pullback(torch.ones(1, alignment.target_ids.shape[1], 24), alignment)
    assert torch.equal(pulled, torch.zeros(1, alignment.source_length, 16))


def test_what_cannot_be_used(source: FrozenModel, target: FrozenModel) -> None:
    with pytest.raises(UsageError, match=r"adapter\.distance='manhattan'.*cosine or euclidean"):
        DiscretisedMap.check(distance="manhattan")
    with pytest.raises(UsageError, match=r"adapter\.several.*mean or first"):
        DiscretisedMap.check(several="last")
    with pytest.raises(UsageError, match="NaN"):
        DiscretisedMap.fit(source, target, ()).transfer(torch.full((1, 16), float("nan")))
