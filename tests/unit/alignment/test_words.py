"""Words and token spans on small real tokenizers of five kinds."""

import copy
from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_tokenizers import SENTENCES, byte_level_bpe, clip_bpe, metaspace_bpe, metaspace_unigram, wordpiece
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from fuse_repro.alignment.words import Tokenized, WordTokenizer, merge, split
from fuse_repro.errors import UsageError


def trimmed_byte_level_bpe() -> PreTrainedTokenizerFast:
    """Byte-level BPE whose offsets leave the leading space out."""
    return byte_level_bpe(trim_offsets=True)


BUILDERS = [byte_level_bpe, trimmed_byte_level_bpe, wordpiece, metaspace_unigram, metaspace_bpe, clip_bpe]
KEEPS_SPACES = [byte_level_bpe, trimmed_byte_level_bpe, metaspace_bpe]
every_kind = pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)

# Texts that mix whole words of the training text, whitespace of all sorts, marks and arbitrary Unicode.
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
ODD = [
    "é",
    "e\u0301",
    "\u0301",
    "ﬁ",
    "①",
    "¨",
    "İ",
    "ß",
    "日本語",
    "ภาษาไทย",
    "😀",
    "👩‍👩‍👧",
    "\u200b",
    "\ufeff",
    "\ufffd",
]
MARKS = [
    "[MASK]",
    "<mask>",
    "<|endoftext|>",
    "</s>",
    "</w>",
    "▁",
    "Ġ",
    "##s",
    "don't",
    "'s",
    "...",
    "\x00",
    "\x7f",
]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "\u3000"]
pieces = st.one_of(st.sampled_from(WORDS + ODD + MARKS + SPACES), st.just(" "), st.text(max_size=6))
texts = st.lists(pieces, max_size=12).map("".join)
single_words = st.lists(
    st.sampled_from([*WORDS, "don't", "日本語", "😀", "x9", "a-b", "(ok)", "'s", "?!"]), min_size=1
)


@cache
def wrapped(build) -> WordTokenizer:
    return WordTokenizer(build())


def tokenized(build, text: str) -> Tokenized:
    return wrapped(build).split([text])[0]


def tokens(build, ids: tuple[int, ...]) -> list[str]:
    return wrapped(build).tokenizer.convert_ids_to_tokens(list(ids))


# --- properties of any text ---


@every_kind
@settings(max_examples=80, deadline=None)
@given(text=texts)
@example(text="")
@example(text=" \t\n")
@example(text="  two  spaces\tand\ttabs\n")
@example(text="a \u0301 b")
@example(text="x\x1cy\x85z\xa0w")
def test_spans_partition_the_tokens_by_words(build, text: str) -> None:
    result = tokenized(build, text)
    bounds = [0, *(stop for _, stop in result.spans)]
    assert [start for start, _ in result.spans] == bounds[:-1]
    assert bounds == sorted(bounds)
    assert bounds[-1] == len(result.ids)
    assert len(result.words) == len(result.spans)
    if text.split() or not result.ids:
        assert result.words == tuple(text.split())
    else:
        assert result.words == ("",)
    assert wrapped(build).encode([text]) == [list(result.ids)]
    embeddings = torch.arange(3.0 * len(result.ids)).reshape(-1, 3)
    torch.testing.assert_close(merge(split(embeddings, result.spans)), embeddings, rtol=0, atol=0)


@every_kind
@settings(max_examples=80, deadline=None)
@given(text=texts)
def test_ids_are_those_of_the_tokenizer(build, text: str) -> None:
    given_ids = wrapped(build).tokenizer(text, add_special_tokens=False)["input_ids"]
    assert wrapped(build).encode([text]) == [given_ids]


@every_kind
@settings(max_examples=50, deadline=None)
@given(words=single_words)
def test_word_ids_are_the_span_of_the_word_in_running_text(build, words: list[str]) -> None:
    result = tokenized(build, " ".join(["Some", *words]))
    spans = [result.ids[start:stop] for start, stop in result.spans[1:]]
    assert wrapped(build).word_ids(words) == spans


@pytest.mark.parametrize("build", KEEPS_SPACES)
@settings(max_examples=80, deadline=None)
@given(text=texts)
def test_decoding_a_span_gives_its_word(build, text: str) -> None:
    result = tokenized(build, text)
    decoded = wrapped(build).decode([result.ids[start:stop] for start, stop in result.spans])
    # A `▁` in the text decodes to a space: SentencePiece itself does not tell them apart.
    if "▁" not in text:
        assert [piece.split() for piece in decoded if piece.split()] == [
            word.split() for word in text.split()
        ]
        assert wrapped(build).decode([result.ids]) == [text]


@every_kind
@settings(max_examples=30, deadline=None)
@given(batch=st.lists(texts, max_size=5))
def test_a_batch_equals_its_single_texts(build, batch: list[str]) -> None:
    tokenizer = wrapped(build)
    assert tokenizer.split(batch) == [tokenizer.split([text])[0] for text in batch]
    assert tokenizer.encode(batch) == [tokenizer.encode([text])[0] for text in batch]
    rows = tokenizer.encode(batch)
    assert tokenizer.decode(rows) == [tokenizer.decode([row])[0] for row in rows]


# --- cases worked by hand ---


def test_leading_spaces_belong_to_the_word_behind_them() -> None:
    result = tokenized(byte_level_bpe, "the  dog on")
    assert [tokens(byte_level_bpe, result.ids[a:b])[0] for a, b in result.spans] == ["t", "Ġ", "Ġon"]
    assert result.spans == tokenized(trimmed_byte_level_bpe, "the  dog on").spans


@every_kind
def test_whitespace_goes_to_the_following_word_or_the_last(build) -> None:
    plain, spaced = tokenized(build, "a cat"), tokenized(build, " \t a \n cat \n ")
    assert spaced.words == plain.words == ("a", "cat")
    assert all(stop - start >= 1 for start, stop in spaced.spans)
    only_space = tokenized(build, "  ")
    assert only_space.words == (("",) if only_space.ids else ())
    assert only_space.spans == (((0, len(only_space.ids)),) if only_space.ids else ())


@every_kind
def test_empty_text_and_empty_batch(build) -> None:
    tokenizer = wrapped(build)
    assert tokenizer.split([""]) == [Tokenized((), (), ())]
    assert tokenizer.encode([""]) == [[]]
    assert tokenizer.encode([]) == tokenizer.split([]) == tokenizer.decode([]) == tokenizer.word_ids([]) == []
    assert tokenizer.decode([[]]) == [""]


@every_kind
def test_a_word_of_thirty_tokens(build) -> None:
    word = "q-" * 15
    (start, stop), after = tokenized(build, f"a {word} dog").spans[1:]
    assert stop - start >= 30 if build is not metaspace_unigram else stop - start >= 15
    assert after[0] == stop


@every_kind
@pytest.mark.parametrize("text", ["今日は良い天気です", "สวัสดีชาวโลก"])
def test_a_script_without_spaces_is_one_word(build, text: str) -> None:
    result = tokenized(build, text)
    assert result.words == (text,)
    assert result.spans == ((0, len(result.ids)),)


def test_words_that_the_tokenizer_drops_have_empty_spans() -> None:
    result = tokenized(wordpiece, "a \u0301 \x00 the")  # a lone accent and a control character are stripped
    assert result.spans == ((0, 1), (1, 1), (1, 1), (1, 2))
    assert wrapped(wordpiece).word_ids(["\u0301", "the"]) == [(), (result.ids[1],)]
    assert tokenized(wordpiece, "\u0301").spans == ((0, 0),)


def test_normalisation_does_not_move_words() -> None:
    result = tokenized(wordpiece, "Dogs ÉTÉ On")
    assert [tokens(wordpiece, result.ids[a:b])[-1] for a, b in result.spans][::2] == ["##s", "on"]
    assert "".join(tokens(wordpiece, result.ids[slice(*result.spans[1])])).replace("##", "") == "ete"
    assert len(tokenized(metaspace_unigram, "ﬁ ㍿ ok").spans) == 3  # NFKC: fi, 4 characters, ok


def test_a_token_across_two_words_belongs_to_the_first() -> None:
    backend = Tokenizer(models.WordLevel({"a b": 0, " c": 1, "<unk>": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(" c", behavior="isolated")
    tokenizer = WordTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))
    assert tokenizer.split(["a b c"])[0].spans == ((0, 1), (1, 1), (1, 2))


def test_tokens_of_reordered_characters_stay_in_order() -> None:
    backend = Tokenizer(models.BPE(vocab={"a": 0, "\u0301": 1, "\u0323": 2}, merges=[]))
    backend.normalizer = normalizers.NFD()  # sorts the dot below before the acute
    tokenizer = WordTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert tokenizer.split(["a\u0301\u0323 \u0301\u0323"])[0].spans == ((0, 3), (3, 5))


def test_special_tokens_spelled_out_become_those_tokens() -> None:
    mask = wordpiece().mask_token_id
    result = tokenized(wordpiece, "a [MASK] the")
    assert result.spans == ((0, 1), (1, 2), (2, 3))
    assert result.ids[1] == mask
    assert wrapped(wordpiece).decode([result.ids]) == ["a [MASK] the"]
    assert metaspace_unigram().mask_token_id in tokenized(metaspace_unigram, "a <mask> cat").ids


def test_decoding_does_not_clean_up_spaces() -> None:
    tokenizer = wrapped(wordpiece)
    assert tokenizer.decode(tokenizer.encode(["the dog, the cat's ."])) == ["the dog , the cat ' s ."]
    assert wrapped(clip_bpe).decode(wrapped(clip_bpe).encode(["The cat."])) == ["the cat ."]
    assert clip_bpe().decode(wrapped(clip_bpe).encode(["The cat."])[0]) == "the cat ."


# --- what it knows of its tokenizer ---


@every_kind
def test_prefix_and_suffix_are_those_of_the_tokenizer(build) -> None:
    tokenizer, original = wrapped(build), build()
    content = tokenizer.encode(["a cat"])[0]
    assert [*tokenizer.prefix_ids, *content, *tokenizer.suffix_ids] == original("a cat")["input_ids"]


@every_kind
def test_vocabulary_special_tokens_and_mask(build) -> None:
    tokenizer, original = wrapped(build), build()
    assert tokenizer.vocab_size == max(original.get_vocab().values()) + 1
    assert tokenizer.special_ids >= set(original.all_special_ids)
    assert tokenizer.special_ids >= {*tokenizer.prefix_ids, *tokenizer.suffix_ids}
    assert tokenizer.mask_token == original.mask_token
    tokenizer.decode([[tokenizer.vocab_size - 1]])


def test_special_tokens_known_to_the_backend_only() -> None:
    original = byte_level_bpe()
    size = len(original)
    original.backend_tokenizer.add_special_tokens(["<|im_start|>"])
    original.backend_tokenizer.add_tokens(["surfing"])
    tokenizer = WordTokenizer(original)
    assert tokenizer.special_ids == {0, 1, size}
    assert tokenizer.vocab_size == size + 2


def test_prefix_where_the_carrier_is_not_in_the_vocabulary() -> None:
    backend = Tokenizer.from_str(metaspace_unigram().backend_tokenizer.to_str())
    backend.normalizer = normalizers.Replace("a", "")
    tokenizer = WordTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))
    assert (tokenizer.prefix_ids, tokenizer.suffix_ids) == ((0,), (2,))


@every_kind
def test_fingerprint_tells_tokenizers_apart_and_ignores_settings(build) -> None:
    original = build()
    before = WordTokenizer(original).fingerprint
    original(["a cat", "a"], padding=True, truncation=True, max_length=1)
    assert WordTokenizer(original).fingerprint == before
    assert len({wrapped(other).fingerprint for other in BUILDERS}) == len(BUILDERS)
    original.add_tokens(["surfing"])
    assert WordTokenizer(original).fingerprint != before


@every_kind
def test_the_tokenizer_given_is_untouched_and_its_settings_do_not_matter(build) -> None:
    original = build()
    original.pad_token = original.pad_token or original.eos_token
    original(["a cat", "a"], padding="max_length", truncation=True, max_length=5)
    backend = original.backend_tokenizer
    before = (backend.to_str(), copy.deepcopy(backend.padding), copy.deepcopy(backend.truncation))
    assert before[1] is not None
    assert before[2] is not None
    tokenizer = WordTokenizer(original)
    long, short = tokenizer.encode([SENTENCES[0], "a"])
    assert len(long) > 5
    assert len(short) == 1
    tokenizer.split(SENTENCES)
    tokenizer.decode([long])
    tokenizer.word_ids(["cat"])
    assert (backend.to_str(), backend.padding, backend.truncation) == before
    assert tokenizer.tokenizer is original


def test_dropout_of_the_tokenizer_is_off() -> None:
    original = byte_level_bpe()
    original.backend_tokenizer.model.dropout = 0.5
    assert WordTokenizer(original).encode([SENTENCES[0]] * 5) == wrapped(byte_level_bpe).encode(
        [SENTENCES[0]] * 5
    )
    assert original.backend_tokenizer.model.dropout == 0.5


# --- tensors ---


def test_split_gives_views_of_each_word() -> None:
    embeddings = torch.arange(10.0).reshape(5, 2).requires_grad_()
    pieces = split(embeddings, [(0, 2), (2, 2), (2, 5)])
    assert [piece.shape for piece in pieces] == [(2, 2), (0, 2), (3, 2)]
    merge([(i + 1) * piece for i, piece in enumerate(pieces)]).sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad[:, 0].tolist() == [1, 1, 3, 3, 3]


@pytest.mark.parametrize("spans", [(), ((0, 0),)])
def test_no_tokens_keep_width_dtype_and_device(spans) -> None:
    empty = torch.zeros(0, 7, dtype=torch.float16)
    assert merge(split(empty, spans)).shape == (0, 7)
    assert merge(split(empty, spans)).dtype == torch.float16


@pytest.mark.parametrize(
    "spans", [(), ((0, 4),), ((1, 5),), ((0, 2), (3, 5)), ((0, 3), (2, 5)), ((0, 6), (6, 5))]
)
def test_spans_must_cover_the_embeddings(spans) -> None:
    with pytest.raises(UsageError, match=r"spans=.*5 embeddings.*contiguous"):
        split(torch.zeros(5, 2), spans)


# --- errors ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: WordTokenizer(ByT5Tokenizer()), "ByT5Tokenizer.*without fast offsets.*AutoTokenizer"),
        (lambda t: WordTokenizer("gpt2"), "str.*without fast offsets"),
        (lambda t: t.encode("text"), "texts='text'.*put a single one in a list"),
        (lambda t: t.split([1]), "text=1"),
        (lambda t: t.encode(["a\ud800"]), "lone surrogate at 1"),
        (lambda t: t.word_ids(["two words"]), "word='two words'"),
        (lambda t: t.word_ids([""]), "word=''"),
        (lambda t: t.decode([[0, 9999]]), r"token id=9999.*0\.\.\d+$"),
        (lambda t: t.decode([[-1], []]), "token id=-1"),
        (lambda t: merge([]), r"pieces=\[\]"),
    ],
)
def test_errors_name_the_value_and_the_remedy(call, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call(wrapped(byte_level_bpe))
    assert "\n" not in str(caught.value)


def test_a_backend_with_parts_in_python_cannot_be_copied() -> None:
    original = byte_level_bpe()
    original.backend_tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(object())
    with pytest.raises(UsageError, match=r"cannot be copied .*Custom PreTokenizer.*tokenizer\.json"):
        WordTokenizer(original)


@every_kind
def test_builders_give_fresh_tokenizers(build) -> None:
    changed = build()
    changed.add_tokens(["surfing"])
    assert "surfing" not in build().get_vocab()
    assert 200 <= len(build()) <= 700
