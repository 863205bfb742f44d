"""Shared words: one token in every model, whatever the tokenizers' marks."""

from itertools import permutations

import pytest
import torch
from tiny_tables import TOKENIZERS, table_model

from fuse_repro.adapters.anchors import Anchors, AnchorSettings, shared_anchors
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel


@pytest.fixture(scope="module")
def models() -> dict[str, FrozenModel]:
    return {name: table_model(name, 8) for name in TOKENIZERS}


def test_every_anchor_is_one_token_of_every_model_where_it_stands_in_text(
    models: dict[str, FrozenModel],
) -> None:
    anchors = shared_anchors(list(models.values()))
    assert len(anchors) > 50
    assert {"dog", "the", "zigzag"} <= set(anchors.words)
    for model, ids in zip(models.values(), anchors.ids, strict=True):
        assert model.tokenizer.word_ids(anchors.words) == [(index,) for index in ids.tolist()]
        assert model.tokenizer.special_ids.isdisjoint(ids.tolist())
        spelled = model.tokenizer.decode([[index] for index in ids.tolist()])
        assert [text.strip() for text in spelled] == list(anchors.words)


def test_marks_of_spaces_and_continuations_are_understood(models: dict[str, FrozenModel]) -> None:
    anchors = shared_anchors(list(models.values()))
    place = anchors.words.index("dog")
    tokens = {
        name: model.tokenizer.tokenizer.convert_ids_to_tokens(int(ids[place]))
        for (name, model), ids in zip(models.items(), anchors.ids, strict=True)
    }
    assert tokens == {
        "byte_level_bpe": "Ġdog",
        "wordpiece": "dog",
        "metaspace_unigram": "▁dog",
        "metaspace_bpe": "▁dog",
        "clip_bpe": "dog</w>",
    }
    assert not any("##" in word for word in anchors.words)


def test_an_uncased_model_shares_no_capitalised_word(models: dict[str, FrozenModel]) -> None:
    cased = shared_anchors([models["byte_level_bpe"], models["metaspace_bpe"]])
    uncased = shared_anchors([models["byte_level_bpe"], models["wordpiece"]])
    assert {"The", "the"} <= set(cased.words)
    assert "The" not in uncased.words
    assert "the" in uncased.words


def test_no_anchor_is_missing(models: dict[str, FrozenModel]) -> None:
    """Every word of a sentence that is one token in both, and is spelled alike, is an anchor."""
    pair = [models["wordpiece"], models["metaspace_unigram"]]
    words = ["dog", "lazy", "the", "zebra", "surfboard", "mountains", "wine"]
    tokens = zip(*(model.tokenizer.word_ids(words) for model in pair), strict=True)
    single = {word for word, ids in zip(words, tokens, strict=True) if all(len(one) == 1 for one in ids)}
    assert single
    assert single <= set(shared_anchors(pair).words)


def test_the_order_of_the_models_does_not_matter(models: dict[str, FrozenModel]) -> None:
    first = shared_anchors(list(models.values()))
    for order in list(permutations(models))[::17]:
        again = shared_anchors([models[name] for name in order])
        assert again.words == first.words
        expected = dict(zip(models, first.ids, strict=True))
        assert all(torch.equal(ids, expected[name]) for name, ids in zip(order, again.ids, strict=True))


def test_selections(models: dict[str, FrozenModel]) -> None:
    pair = [models["byte_level_bpe"], models["metaspace_bpe"]]
    everything = shared_anchors(pair)
    assert list(everything.words) == sorted(everything.words)
    frequent = shared_anchors(pair, 12, "frequent")
    assert {"the", "and", "of", "to", "in"} <= set(frequent.words)
    assert len({word.lower() for word in frequent.words}) == 12
    ranked = shared_anchors(pair, selection="frequent").words
    assert ranked[:12] == frequent.words
    assert sorted(ranked) == list(everything.words)
    drawn = [shared_anchors(pair, 30, "random", seed).words for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(set(words)) == 30 and set(words) <= set(everything.words) for words in drawn)


def test_answers_can_be_left_out_in_any_capitalisation(models: dict[str, FrozenModel]) -> None:
    pair = [models["byte_level_bpe"], models["metaspace_bpe"]]
    before = set(shared_anchors(pair).words)
    after = set(shared_anchors(pair, exclude=["the", " Dog", "old bridge", "nowhere"]).words)
    assert before - after == before & {"the", "The", "dog", "Dog", "old", "Old", "bridge", "Bridge"}
    assert AnchorSettings(exclude=["the"]).choose(pair).words == shared_anchors(pair, exclude=("The",)).words


def test_hold_out_splits_without_overlap(models: dict[str, FrozenModel]) -> None:
    anchors = shared_anchors(list(models.values())[:2])
    kept, held = anchors.hold_out(20, seed=0)
    assert (len(kept), len(held)) == (len(anchors) - 20, 20)
    assert set(kept.words) | set(held.words) == set(anchors.words)
    assert held.words == anchors.hold_out(20, seed=0)[1].words != anchors.hold_out(20, seed=1)[1].words
    table = dict(zip(anchors.words, anchors.source_ids.tolist(), strict=True))
    assert [table[word] for word in held.words] == held.source_ids.tolist()


def test_embeddings_are_what_each_model_receives(models: dict[str, FrozenModel]) -> None:
    pair = list(models.values())[:2]
    anchors = shared_anchors(pair).take([5, 2])
    for model, ids, embeddings in zip(pair, anchors.ids, anchors.embeddings(pair), strict=True):
        assert torch.equal(embeddings, model.embedding_table()[ids])
    assert isinstance(anchors, Anchors)
    assert torch.equal(anchors.target_ids, anchors.ids[1])


def test_what_cannot_be_shared(models: dict[str, FrozenModel]) -> None:
    pair = [models["byte_level_bpe"], models["wordpiece"]]
    everything = shared_anchors(pair)
    with pytest.raises(
        UsageError, match=r"byte_level_bpe_8_0, wordpiece_8_0 share no anchors.*words excluded"
    ):
        shared_anchors(pair, exclude=everything.words)
    with pytest.raises(
        UsageError, match=rf"adapter\.anchors=99999 is not allowed.*share {len(everything)} words"
    ):
        shared_anchors(pair, 99999, "frequent")
    with pytest.raises(UsageError, match="at least two to share anchors"):
        shared_anchors(pair[:1])
    with pytest.raises(UsageError, match="null with anchor_selection=all"):
        shared_anchors(pair, 5)
    with pytest.raises(UsageError, match=r"adapter\.anchor_selection='rare'.*all, frequent, random"):
        AnchorSettings(anchor_selection="rare")
    with pytest.raises(UsageError, match=r"adapter\.anchors=0"):
        AnchorSettings(anchors=0, anchor_selection="random")
