"""Parts of a text by the spaces in its tokens: what offsets say, or nothing."""

import json
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_tokenizers import byte_level_bpe, clip_bpe, metaspace_bpe, wordpiece
from tokenizers import AddedToken, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from fuse_repro.alignment.opening import opening_of
from fuse_repro.alignment.words import CARRIER, WordTokenizer

LETTERS = ["a", "s", "dog", " ", "  ", "é", "Ġ", "日", "'s", "9", "\t", "\x05"]
parts = st.lists(st.lists(st.sampled_from(LETTERS), min_size=1, max_size=4).map("".join), max_size=8)


def state(tokenizer: PreTrainedTokenizerFast) -> dict:
    return json.loads(tokenizer.backend_tokenizer.to_str())


@cache
def bytes_apart(opened: bool = True) -> WordTokenizer:
    tokenizer = WordTokenizer(byte_level_bpe())
    if not opened:
        tokenizer._opening = None
    return tokenizer


@given(parts)
@example(["dog", "  dog", "Ġ", " s"])
@example([])
@settings(deadline=None)
def test_parts_have_the_tokens_that_offsets_say(ends: list[str]) -> None:
    """Of texts that can be cut: every part ends in a letter."""
    whole = [CARRIER, *(f" {end}s" for end in ends)]
    tokenizer, offsets = bytes_apart(), bytes_apart(False)
    assert tokenizer._opening is not None
    found = tokenizer.encode_parts(whole)
    assert found == offsets.encode_parts(whole)
    assert [token for part in found for token in part] == tokenizer.encode(["".join(whole)])[0]


def test_a_space_that_an_added_token_takes_is_missed() -> None:
    """Then offsets are asked."""
    tokenizer = byte_level_bpe()
    tokenizer.add_tokens([AddedToken("[b]", lstrip=True), AddedToken("Ġx")])
    words = WordTokenizer(tokenizer)
    opening, given_parts = opening_of(state(tokenizer), words.vocab_size), ["a", " dog", " [b]", " cats"]
    assert opening is not None
    (ids,) = words.encode(["".join(given_parts)])
    assert opening.begins(ids, given_parts) is None
    assert sum(map(len, words.encode_parts(given_parts))) == len(ids)
    (ids,) = words.encode(["a dog Ġx"])  # this one holds no space, whatever it looks like
    assert opening.begins(ids, ["a", " dog", " Ġx"]) == [1, len(ids) - 2]


def test_parts_that_begin_otherwise_are_not_known() -> None:
    words = WordTokenizer(byte_level_bpe())
    (ids,) = words.encode(["a dogs"])
    assert words._opening is not None
    assert words._opening.begins(ids, ["a", " dog", "s"]) is None


def spaced() -> PreTrainedTokenizerFast:
    tokenizer = byte_level_bpe()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


@pytest.mark.parametrize("build", [clip_bpe, metaspace_bpe, wordpiece, spaced], ids=lambda one: one.__name__)
def test_other_tokenizers_say_nothing(build) -> None:
    """Those that write no byte as it is, or may add a space."""
    assert opening_of(state(build()), 10_000) is None
