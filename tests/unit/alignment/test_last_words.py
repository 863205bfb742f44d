"""Reading by last words equals reading whole, for every kind of tokenizer."""

from collections.abc import Callable
from functools import cache
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_tokenizers import SENTENCES, byte_level_bpe, clip_bpe, metaspace_bpe, metaspace_unigram, wordpiece
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from fuse_repro.alignment.last_words import TOGETHER, LastWords
from fuse_repro.alignment.word_ends import PATTERNS, PRINTABLE, last_cut
from fuse_repro.alignment.words import CARRIER, WordTokenizer

Build = Callable[[], PreTrainedTokenizerFast]


def changed(build: Build, **parts: object) -> PreTrainedTokenizerFast:
    """A tokenizer with some parts of its backend exchanged."""
    tokenizer = build()
    for name, part in parts.items():
        setattr(tokenizer.backend_tokenizer, name, part)
    return tokenizer


def gpt4_bpe() -> PreTrainedTokenizerFast:
    """The pattern of GPT-4's family, as in Llama 3."""
    pattern = pre_tokenizers.Split(Regex(PATTERNS[1]), "isolated")
    parts = [pattern, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    return changed(byte_level_bpe, pre_tokenizer=pre_tokenizers.Sequence(parts))


def digits_bpe() -> PreTrainedTokenizerFast:
    """Every digit apart, Unicode composed, a space put in front."""
    parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    pre_tokenizer = pre_tokenizers.Sequence(parts)
    return changed(byte_level_bpe, pre_tokenizer=pre_tokenizer, normalizer=normalizers.NFC())


def llama2_bpe() -> PreTrainedTokenizerFast:
    """A mark put in front of the text by the normaliser, and taken off by the decoder."""
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return changed(metaspace_bpe, normalizer=normalizer, decoder=decoders.Sequence(parts))


def greedy_bpe() -> PreTrainedTokenizerFast:
    """Added tokens that take the spaces around them, or hold some."""
    tokenizer = byte_level_bpe()
    greedy = [AddedToken("<a>", rstrip=True), AddedToken("[b]", lstrip=True), AddedToken("= =")]
    tokenizer.add_tokens(greedy)
    return tokenizer


CUT = [
    byte_level_bpe,
    gpt4_bpe,
    digits_bpe,
    greedy_bpe,
    llama2_bpe,
    metaspace_bpe,
    metaspace_unigram,
    wordpiece,
]
CUT += [clip_bpe]


def whole_unigram() -> PreTrainedTokenizerFast:
    """Pieces chosen for the whole text at once: ties may be broken by what comes before."""
    return changed(metaspace_unigram, pre_tokenizer=pre_tokenizers.Metaspace(split=False))


def odd_pattern() -> PreTrainedTokenizerFast:
    """A pattern of words with the space behind them."""
    parts = [pre_tokenizers.Split(Regex(r"\S+\s*"), "isolated"), pre_tokenizers.ByteLevel(use_regex=False)]
    return changed(byte_level_bpe, pre_tokenizer=pre_tokenizers.Sequence(parts))


def lone_words() -> PreTrainedTokenizerFast:
    """An added token that must not have letters beside it."""
    tokenizer = byte_level_bpe()
    tokenizer.add_tokens([AddedToken(" cat", single_word=True)])
    return tokenizer


def without_decoder() -> PreTrainedTokenizerFast:
    """Tokens joined by spaces."""
    return changed(wordpiece, decoder=None)


WHOLE = [whole_unigram, odd_pattern, lone_words, without_decoder]
ALL = [*CUT, *WHOLE]


@cache
def wrapped(build: Build) -> WordTokenizer:
    return WordTokenizer(build())


@cache
def by_last_word(build: Build) -> LastWords:
    return LastWords(wrapped(build))


PIECES = sorted({word for sentence in SENTENCES for word in sentence.split()})
PIECES += [
    "é",
    "e\u0301",
    "\u0301",
    "ﬁ",
    "¨",
    "İ",
    "Σ",
    "日本",
    "ไทย",
    "😀",
    "\u200b",
    "\ufffd",
    "\u0d4e",
    "\u0600",
]
PIECES += ["<a>", "[b]", "= =", "[MASK]", "<|endoftext|>", "</w>", "▁", "Ġ", "##s", "'s", "...", "x9", "\x00"]
PIECES += [" ", " ", " ", "  ", "\t", "\n", "\xa0", "\u3000", "\x1c"]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=10).map("".join)
every = pytest.mark.parametrize("build", ALL, ids=lambda build: build.__name__)


def reference(
    tokenizer: WordTokenizer, prompt: tuple[int, ...], tokens: range | list[int]
) -> list[str | None]:
    """Whole tokenisation of every prompt with one more token."""
    rows = [[*prompt, token] for token in tokens]
    decoded = tokenizer.decode(rows)
    pairs = zip(rows, decoded, tokenizer.encode(decoded), strict=True)
    return [text if back == row and text.splitlines() == [text] else None for row, text, back in pairs]


@every
@given(st.lists(texts, max_size=6))
@example(["", " ", "a ", "a  b", "a b ", "dog .", "a> b", "a <a> b", "x= = y", "[b] [b]"])
@example(["the 日本 x", "e\u0301 \u0301e x", "ab\n cd", "a \u0301b", "\u0d4e b", "a</w> b"])
@settings(max_examples=60, deadline=None)
def test_texts_have_the_tokens_of_whole_texts(build: Build, given_texts: list[str]) -> None:
    encoded = by_last_word(build).encode(given_texts)
    assert [list(ids) for ids in encoded] == wrapped(build).encode(given_texts)


@every
@given(st.lists(texts, max_size=6))
@example(["", " ", "a ", "a  b", "a b ", "dog .", "a> b", "a <a> b", "x= = y", "[b] [b]", "a b\t"])
@example(
    ["the 日本 x", "e\u0301 \u0301e x", "ab\n cd", "a \u0301b", "a \u0301", "\u0d4e b", "a</w> b", "a \x00"]
)
@settings(max_examples=60, deadline=None)
def test_texts_have_the_words_of_whole_texts(build: Build, given_texts: list[str]) -> None:
    """Their spans of tokens, too."""
    assert by_last_word(build).split(given_texts) == wrapped(build).split(given_texts)


@every
@given(text=texts)
@example(text="An image of")
@example(text="An image of a")
@example(text="An image of a ")
@example(text="A  cat")
@example(text="a <a> b")
@example(text="two\nlines are")
@example(text="dog")
@example(text="")
@settings(max_examples=12, deadline=None)
def test_every_next_token_is_judged_as_the_whole_prompt_is(build: Build, text: str) -> None:
    """After texts that survive decode -> encode, and after others."""
    tokenizer = wrapped(build)
    (ids,) = tokenizer.encode([text])
    tokens = range(tokenizer.vocab_size)
    assert by_last_word(build).extended(tuple(ids), tokens) == reference(tokenizer, tuple(ids), tokens)


@every
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_every_next_token_is_judged_alike_after_any_tokens(build: Build, data: st.DataObject) -> None:
    """Also halves of characters, unknown and special tokens."""
    tokenizer = wrapped(build)
    prompt = tuple(data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=6)))
    tokens = range(tokenizer.vocab_size)
    assert by_last_word(build).extended(prompt, tokens) == reference(tokenizer, prompt, tokens)


@pytest.mark.parametrize("build", CUT, ids=lambda build: build.__name__)
def test_usual_tokenizers_are_cut_at_words(build: Build) -> None:
    """All but the last characters of added tokens, and what stands before a space in a token."""
    assert frozenset("aeiounst") <= wrapped(build).word_ends < PRINTABLE


def test_no_word_ends_where_a_token_ends_or_crosses() -> None:
    assert PRINTABLE - wrapped(greedy_bpe).word_ends == set(">]=")


@pytest.mark.parametrize("build", WHOLE, ids=lambda build: build.__name__)
def test_a_tokenizer_of_unknown_ways_is_read_whole(build: Build) -> None:
    assert wrapped(build).word_ends == frozenset()


@pytest.mark.parametrize(
    ("text", "place"),
    [("", 0), ("a", 0), ("a b", 1), ("a b ", 3), ("a  b", 1), (" b", 0), ("a> b", 0), ("c a> b", 1)],
)
def test_the_last_cut(text: str, place: int) -> None:
    assert last_cut(text, frozenset("abc")) == place


def test_a_prefix_is_read_once_and_a_word_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 + 1 texts for 4: what is shared is not read again, nor is a last word of an earlier call."""
    tokenizer = WordTokenizer(byte_level_bpe())
    words, read = LastWords(tokenizer), []
    for name in ("encode", "encode_parts"):
        own = getattr(tokenizer, name)
        monkeypatch.setattr(tokenizer, name, lambda given, own=own: read.extend(given) or own(given))
    words.encode(["A red cat", "A red dog"])
    assert read == ["A red", CARRIER, " cat", " dog"]
    read.clear()
    words.encode(["A blue cat", "A blue dog"])
    assert read == ["A blue"]


@pytest.mark.parametrize("build", CUT, ids=lambda build: build.__name__)
@given(choice=st.randoms(use_true_random=False))
@settings(max_examples=4, deadline=None)
def test_many_last_words_have_the_tokens_that_each_has_alone(build: Build, choice: Random) -> None:
    """More than are read as one text, and of any characters."""
    given_texts = [
        "A " + "".join(choice.choices(PIECES, k=choice.randint(1, 4))) for _ in range(2 * TOGETHER)
    ]
    encoded = LastWords(wrapped(build)).encode(given_texts)
    assert [list(ids) for ids in encoded] == wrapped(build).encode(given_texts)


@pytest.mark.parametrize(
    "build", [byte_level_bpe, gpt4_bpe, metaspace_bpe, wordpiece], ids=lambda one: one.__name__
)
def test_a_token_that_was_written_once_is_not_decoded_again(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After another last word its text is put together; tokens that are no text alone are decoded with each."""
    tokenizer = WordTokenizer(build())
    words, decoded = LastWords(tokenizer), []
    first, second = (tuple(tokenizer.encode([text])[0]) for text in ("A red cat", "A red dog"))
    tokens = range(tokenizer.vocab_size)
    words.extended(first, tokens)
    own = tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda given: decoded.extend(given) or own(given))
    found = words.extended(second, tokens)
    alone = own([(*tokenizer.encode([CARRIER])[0], token) for token in tokens])
    broken = sum("\ufffd" in text or not text.startswith(CARRIER) for text in alone)
    assert len(decoded) <= broken + 3
    monkeypatch.undo()
    assert found == reference(tokenizer, second, tokens)


def test_clip_writes_a_space_behind_words_but_the_last() -> None:
    """So its texts are not put together."""
    assert [wrapped(build).writes_apart for build in (clip_bpe, byte_level_bpe, llama2_bpe, wordpiece)] == [
        False,
        True,
        True,
        True,
    ]
    assert not any(wrapped(build).writes_apart for build in WHOLE)
