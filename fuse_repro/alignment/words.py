"""Whitespace-separated words <-> spans of tokens, for any fast tokenizer (split and merge, FUSE section 3.3).

Tokens are matched to words by their character offsets, so nothing here knows how a tokenizer marks spaces:
byte-level BPE (GPT-2, SmolLM2), WordPiece (BERT), SentencePiece (Gemma, T5, XLM-R) and CLIP's end-of-word BPE
take the same path.
"""

import copy
import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING

import tokenizers
import torch
from torch import Tensor

from fuse_repro.alignment.backend_state import private_state
from fuse_repro.alignment.opening import opening_of
from fuse_repro.alignment.word_ends import word_ends, writes_apart
from fuse_repro.errors import UsageError, require

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Span = tuple[int, int]
CARRIER = "a"  # the text put before a word, so that the word stands where words in running text stand


@dataclass(frozen=True)
class Tokenized:
    """One text as tokens and as words.

    Attributes:
        ids: the S content tokens, without special tokens put around the text.
        words: `text.split()`; or one word `""` where a text of whitespace only has tokens.
        spans: `[start, stop)` of each word's tokens, in order; contiguous and together all of `[0, S)`.
            Empty (start == stop) for a word that the tokenizer drops.
    """

    ids: tuple[int, ...]
    words: tuple[str, ...]
    spans: tuple[Span, ...]


class WordTokenizer:
    """A fast transformers tokenizer that also tells which tokens make up which word.

    Works on a private copy of the backend without padding, truncation, dropout and clean-up of decoded
    spaces; the tokenizer given is only read.

    Args:
        tokenizer: any transformers tokenizer backed by the `tokenizers` library.
        rows: of the embedding table that it is for; added tokens beyond it are never made. None: any number.

    Attributes:
        word_ends: characters after which a space begins a part of its own; see fuse_repro.alignment.word_ends.
        begin_id: the token that says that a text begins, whether or not it is put in front of one; None without one.
        writes_apart: whether tokens are written one behind the other; see there.

    Raises:
        UsageError: a tokenizer without fast offsets (a slow one, or one whose backend cannot be copied).
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerFast", rows: int | None = None) -> None:
        self.tokenizer = tokenizer
        state = private_state(tokenizer, rows)
        self._backend = tokenizers.Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
        self.word_ends: frozenset[str] = word_ends(state)
        self.writes_apart: bool = bool(self.word_ends) and writes_apart(state)
        added = self._backend.get_added_tokens_decoder()
        special = {index for index, token in added.items() if token.special}
        self.vocab_size: int = max(self._backend.get_vocab(with_added_tokens=True).values()) + 1
        self._opening = opening_of(state, self.vocab_size)
        own = (index for index in tokenizer.all_special_ids if index < self.vocab_size)
        self.special_ids: frozenset[int] = frozenset(special.union(own))
        has_mask = tokenizer.mask_token_id is not None and tokenizer.mask_token_id < self.vocab_size
        self.mask_token: str | None = tokenizer.mask_token if has_mask else None
        self.prefix_ids, self.suffix_ids = self._surroundings()
        begin = tokenizer.bos_token_id
        self.begin_id: int | None = begin if begin is not None and begin < self.vocab_size else None

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of the private backend's JSON: does not depend on padding and truncation settings."""
        return hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def within(self, rows: int) -> "WordTokenizer":
        """The same tokenizer without the added tokens that a table of so many rows has none for."""
        return self if self.vocab_size <= rows else WordTokenizer(self.tokenizer, rows)

    def lower_cased(self) -> "WordTokenizer":
        """The same tokenizer, but texts are lower-cased first; itself if it does that already."""
        own = self._backend.normalizer
        if own is not None and own.normalize_str("A") == "a":
            return self
        twin = copy.deepcopy(self.tokenizer)
        lower = tokenizers.normalizers.Lowercase()
        parts = [lower] if own is None else [lower, own]
        twin.backend_tokenizer.normalizer = tokenizers.normalizers.Sequence(parts)
        return WordTokenizer(twin, self.vocab_size)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Content token ids of every text: no special tokens around it, no truncation.

        A special token spelled out in a text ("[MASK]") becomes that token.

        Raises:
            UsageError: not a sequence of texts that can be encoded as UTF-8.
        """
        _check_texts(texts)
        batch = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in batch]

    def encode_parts(self, parts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of one text, by its parts: the text is encoded once, and a token belongs where it begins.

        Many short texts as parts of one take a fraction of the time. Parts have the tokens that they have by themselves
        only where the text may be cut between them (see fuse_repro.alignment.word_ends).

        Args:
            parts: what the text is made of, none of them empty.

        Raises:
            UsageError: not a sequence of texts that can be encoded as UTF-8.
        """
        _check_texts(parts)
        text = "".join(parts)
        if self._opening is not None:  # offsets take a third of the time
            ids = self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
            if (begins := self._opening.begins(ids, parts)) is not None:
                return [tuple(ids[a:b]) for a, b in pairwise([0, *begins, len(ids)])]
        encoding = self._backend.encode(text, add_special_tokens=False)
        ids, starts = encoding.ids, [start for start, _ in encoding.offsets]
        bounds = accumulate(map(len, parts), initial=0)
        return [tuple(ids[a:b]) for a, b in pairwise(bisect_left(starts, bound) for bound in bounds)]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of every token sequence; spaces are not cleaned up and special tokens are kept.

        Raises:
            UsageError: an id outside `[0, vocab_size)`.
        """
        rows = [list(row) for row in ids]
        highest = max(map(max, filter(None, rows)), default=0)
        lowest = min(map(min, filter(None, rows)), default=0)
        worst = lowest if lowest < 0 else highest
        require(
            0 <= worst < self.vocab_size,
            "token id",
            worst,
            f"this tokenizer has ids 0..{self.vocab_size - 1}",
        )
        texts: list[str] = self._backend.decode_batch(rows, skip_special_tokens=False)
        suffix = getattr(self._backend.model, "end_of_word_suffix", None)
        if suffix and not isinstance(self._backend.decoder, tokenizers.decoders.BPEDecoder):
            # CLIP's backend leaves the marks in; transformers replaces them in the same way.
            return [text.replace(suffix, " ").strip() for text in texts]
        return texts

    def split(self, texts: Sequence[str]) -> list[Tokenized]:
        """Tokens, words and the span of each word for every text; ids as `encode` gives them.

        A token belongs to the word of its first character that is not whitespace. A token of whitespace only
        belongs to the word that follows, or to the last word.

        Raises:
            UsageError: not a sequence of texts that can be encoded as UTF-8.
        """
        _check_texts(texts)
        batch = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [_tokenized(text, encoding) for text, encoding in zip(texts, batch, strict=True)]

    def word_ids(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of every word as it stands in running text, that is, after a space; () if it is dropped.

        Raises:
            UsageError: an entry that is not exactly one word.
        """
        _check_texts(words)
        for word in words:
            require(word.split() == [word], "word", word, "one word without whitespace; split the text first")
        return self.behind_word(words)

    def behind_word(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of every text as it stands behind another word and a space."""
        split_texts = self.split([f"{CARRIER} {text}" for text in texts])
        return [text.ids[text.spans[0][1] :] for text in split_texts]

    def _surroundings(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens before and after a single text.

        Raises:
            UsageError: no text can be encoded to any token.
        """
        vocabulary = self._backend.get_vocab(with_added_tokens=False)
        for text in chain([CARRIER], vocabulary):
            content = self._backend.encode(text, add_special_tokens=False).ids
            if content:
                encoding = self._backend.encode(text, add_special_tokens=True)
                start = encoding.special_tokens_mask.index(0)
                stop = start + len(content)
                return tuple(encoding.ids[:start]), tuple(encoding.ids[stop:])
        raise UsageError("the tokenizer has no token that any text can be encoded to: check its vocabulary")


def split(embeddings: Tensor, spans: Sequence[Span]) -> list[Tensor]:
    """The rows of each word (views): `[S, d]` -> one `[l_w, d]` per span (FUSE section 3.3).

    Without any span, which is a text without tokens, there is one `[0, d]` piece, so that `merge` knows d.

    Raises:
        UsageError: spans that do not cover the S rows in order without gaps.
    """
    bounds = [0, *(stop for _, stop in spans)]
    contiguous = all(start == before <= stop for before, (start, stop) in zip(bounds, spans, strict=False))
    if not contiguous or bounds[-1] != len(embeddings):
        raise UsageError(
            f"spans={tuple(spans)} do not fit {len(embeddings)} embeddings: they must be contiguous and "
            "cover all of them; take both from the same text and tokenizer"
        )
    return [embeddings[start:stop] for start, stop in spans] or [embeddings]


def merge(pieces: Sequence[Tensor]) -> Tensor:
    """The inverse of `split`: pieces `[l_w, d]` -> `[S, d]`, `merge(split(E, spans)) == E` exactly.

    Raises:
        UsageError: no pieces at all.
    """
    require(
        len(pieces) > 0,
        "pieces",
        list(pieces),
        "at least one piece, of shape [0, d] for a text without tokens",
    )
    return torch.cat(list(pieces))


def _check_texts(texts: Sequence[str]) -> None:
    require(not isinstance(texts, str), "texts", texts, "a sequence of texts; put a single one in a list")
    with suppress(TypeError, UnicodeEncodeError):
        "".join(texts).encode()
        return
    for text in texts:
        require(isinstance(text, str), "text", text, "a str")
        try:
            text.encode()
        except UnicodeEncodeError as err:
            raise UsageError(
                f"text={text!r} has a lone surrogate at {err.start}: only Unicode text can be tokenized; "
                "decode its bytes with the right encoding"
            ) from err


def _tokenized(text: str, encoding: tokenizers.Encoding) -> Tokenized:
    ids = tuple(encoding.ids)
    words = tuple(text.split())
    if not words:
        return Tokenized(ids, ("",), ((0, len(ids)),)) if ids else Tokenized((), (), ())
    counts = [0] * len(words)
    ends = _word_ends(text, words)
    for start, _ in encoding.offsets:
        # The first word that ends behind a token's start holds its first visible character. Normalisers may
        # reorder marks within a word, but never across whitespace, so words come in order.
        word = min(bisect_right(ends, start), len(words) - 1)
        counts[word] += 1
    return Tokenized(ids, words, tuple(pairwise(accumulate(counts, initial=0))))


def _word_ends(text: str, words: Sequence[str]) -> list[int]:
    """The character offset behind each of the words of `text`."""
    ends, position = [], 0
    for word in words:
        position = text.index(word, position) + len(word)
        ends.append(position)
    return ends
