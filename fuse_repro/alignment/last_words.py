"""Texts that differ in their last words: what they have in common is read once, and every last word once."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from fuse_repro.alignment.word_ends import last_cut
from fuse_repro.alignment.words import CARRIER, Tokenized, WordTokenizer

TEXTS = 2**16  # last words of texts that are kept
WORDS = 2**8  # last words of prompts whose continuations are kept
JOINS = ""  # stands for a token that goes on with the last word


class LastWords:
    """Reads texts and extends prompts as a tokenizer does, in a fraction of its time.

    Where a tokenizer has no word ends, and where a text cannot be cut, it is read whole (see
    fuse_repro.alignment.word_ends). What is known of last words is kept.

    Args:
        tokenizer: whose results are given.
    """

    def __init__(self, tokenizer: WordTokenizer) -> None:
        self._tokenizer = tokenizer
        self._lead = tuple(tokenizer.encode([CARRIER])[0])
        kept = CARRIER in tokenizer.word_ends and tokenizer.decode([self._lead]) == [CARRIER]
        self._ends = tokenizer.word_ends if kept else frozenset()
        self._read: dict[str, tuple[int, ...]] = {}  # tuples, which the garbage collector leaves alone
        self._parted: dict[str, Tokenized] = {}
        self._new: dict[int, str | None] = {}
        self._joined: dict[tuple[int, ...], dict[int, str | None]] = {}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """As `WordTokenizer.encode`.

        Raises:
            UsageError: see there.
        """
        if not self._ends:
            return self._tokenizer.encode(texts)
        beginnings, words = self._parts(texts)
        shared = list(dict.fromkeys(beginnings))
        known = dict(zip(shared, self._tokenizer.encode(shared), strict=True))
        new = _unknown(words, self._read)
        encoded = self._tokenizer.encode([CARRIER + word for word in new])
        self._read.update(
            (word, tuple(ids[len(self._lead) :])) for word, ids in zip(new, encoded, strict=True)
        )
        return [
            [*known[beginning], *self._read[word]] for beginning, word in zip(beginnings, words, strict=True)
        ]

    def split(self, texts: Sequence[str]) -> list[Tokenized]:
        """As `WordTokenizer.split`.

        Raises:
            UsageError: see there.
        """
        if not self._ends:
            return self._tokenizer.split(texts)
        beginnings, words = self._parts(texts)
        shared = list(dict.fromkeys(beginnings))
        known = dict(zip(shared, self._tokenizer.split(shared), strict=True))
        new = _unknown(words, self._parted)
        parted = self._tokenizer.split([CARRIER + word for word in new])
        self._parted.update(zip(new, parted, strict=True))
        return [
            self._continued(known[beginning], self._parted[word]) if word else known[beginning]
            for beginning, word in zip(beginnings, words, strict=True)
        ]

    def extended(self, prompt: tuple[int, ...], tokens: Sequence[int]) -> list[str | None]:
        """The text of a prompt with each of the tokens; None where it is not read back as the very same tokens.

        Texts of several lines count as not read back.

        Args:
            prompt: content tokens.
            tokens: what may come next.
        """
        (text,) = self._tokenizer.decode([prompt])
        place = last_cut(text, self._ends)
        beginning = text[:place]
        (ids,) = self._tokenizer.encode([beginning])
        cut = prompt[: len(ids)] == tuple(ids) and self._tokenizer.decode([ids]) == [beginning]
        word = prompt[len(ids) :]
        if not (place and cut and word and is_line(text)):
            return self._survivors([(*prompt, token) for token in tokens])
        ended = text[-1] in self._ends and self.encode([text]) == [list(prompt)]
        new = self._starting(tokens) if ended else dict.fromkeys(tokens, JOINS)
        joined = self._joining(word, [token for token in tokens if new[token] == JOINS])
        found = []
        for token in tokens:
            start, more = (text, new[token]) if new[token] != JOINS else (beginning, joined[token])
            found.append(None if more is None else start + more)
        return found

    def _parts(self, texts: Sequence[str]) -> tuple[list[str], list[str]]:
        """What stands before the last word of every text, and that word with its space; "" where there is no cut."""
        places = [last_cut(text, self._ends) or len(text) for text in texts]
        pairs = list(zip(texts, places, strict=True))
        return [text[:place] for text, place in pairs], [text[place:] for text, place in pairs]

    def _continued(self, beginning: Tokenized, word: Tokenized) -> Tokenized:
        """A text whose last word was split after the carrier."""
        lead, shift = len(self._lead), len(beginning.ids) - len(self._lead)
        start, stop = beginning.spans[-1]
        last = (start, stop + word.spans[0][1] - lead)  # spaces at the end belong to the word before them
        spans = (*beginning.spans[:-1], last, *((a + shift, b + shift) for a, b in word.spans[1:]))
        return Tokenized(beginning.ids + word.ids[lead:], beginning.words + word.words[1:], spans)

    def _starting(self, tokens: Iterable[int]) -> dict[int, str | None]:
        """What tokens add to any text that ends with a word: their text, None, or JOINS if they start no word."""
        new = [token for token in tokens if token not in self._new]
        texts = self._tokenizer.decode([(*self._lead, token) for token in new])
        spaced = f"{CARRIER} "
        self._new.update(
            (token, JOINS) for token, text in zip(new, texts, strict=True) if not text.startswith(spaced)
        )
        rows = [
            ((*self._lead, token), text)
            for token, text in zip(new, texts, strict=True)
            if text.startswith(spaced)
        ]
        kept = self._read_back(*zip(*rows, strict=True)) if rows else []
        for (ids, text), survives in zip(rows, kept, strict=True):
            self._new[ids[-1]] = text[len(CARRIER) :] if survives else None
        return self._new

    def _joining(self, word: tuple[int, ...], tokens: Iterable[int]) -> dict[int, str | None]:
        """The text of the last word of a prompt with each of the tokens, or None."""
        if len(self._joined) > WORDS:
            self._joined.clear()
        known = self._joined.setdefault(word, {})
        new = [token for token in tokens if token not in known]
        texts = self._survivors([(*self._lead, *word, token) for token in new])
        known.update((token, text and text[len(CARRIER) :]) for token, text in zip(new, texts, strict=True))
        return known

    def _survivors(self, prompts: Sequence[tuple[int, ...]]) -> list[str | None]:
        """The text of every prompt, or None, by whole tokenisation."""
        texts = self._tokenizer.decode(prompts)
        kept = self._read_back(prompts, texts)
        return [text if survives else None for text, survives in zip(texts, kept, strict=True)]

    def _read_back(self, prompts: Sequence[tuple[int, ...]], texts: Sequence[str]) -> list[bool]:
        """Whether every text is one line, and read back as these tokens."""
        rows = zip(prompts, texts, self._tokenizer.encode(texts), strict=True)
        return [tuple(back) == ids and is_line(text) for ids, text, back in rows]


def _unknown(words: Iterable[str], known: dict[str, Any]) -> list[str]:
    """Last words that are not known yet, each once; too many known ones are forgotten."""
    if len(known) > TEXTS:
        known.clear()
    return [word for word in dict.fromkeys(words) if word not in known]


def is_line(text: str) -> bool:
    """Whether a text is one line."""
    return text.splitlines() == [text]


@lru_cache(maxsize=8)
def last_words(tokenizer: WordTokenizer) -> LastWords:
    """What is kept of a tokenizer's last words, one for each tokenizer."""
    return LastWords(tokenizer)
