"""Texts that differ in their last words: what they have in common is read once, and every last word once."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from fuse_repro.alignment.word_ends import last_cut
from fuse_repro.alignment.words import CARRIER, WordTokenizer

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
        self._read: dict[str, list[int]] = {}
        self._new: dict[int, str | None] = {}
        self._joined: dict[tuple[int, ...], dict[int, str | None]] = {}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """As `WordTokenizer.encode`.

        Raises:
            UsageError: see there.
        """
        if not self._ends:
            return self._tokenizer.encode(texts)
        places = [last_cut(text, self._ends) or len(text) for text in texts]
        parts = [(text[:place], text[place:]) for text, place in zip(texts, places, strict=True)]
        beginnings = list(dict.fromkeys(beginning for beginning, _ in parts))
        known = dict(zip(beginnings, self._tokenizer.encode(beginnings), strict=True))
        self._read_last({word for _, word in parts})
        return [known[beginning] + self._read[word] for beginning, word in parts]

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

    def _read_last(self, words: set[str]) -> None:
        """Remember the tokens of these last words, which begin with a space or are empty."""
        if len(self._read) > TEXTS:
            self._read.clear()
        new = sorted(words - self._read.keys())
        for word, ids in zip(new, self._tokenizer.encode([CARRIER + word for word in new]), strict=True):
            self._read[word] = ids[len(self._lead) :]

    def _starting(self, tokens: Iterable[int]) -> dict[int, str | None]:
        """What tokens add to any text that ends with a word: their text, None, or JOINS if they start no word."""
        new = [token for token in tokens if token not in self._new]
        rows = [(*self._lead, token) for token in new]
        starts = [text[len(CARRIER) :].startswith(" ") for text in self._tokenizer.decode(rows)]
        for token, text, start in zip(new, self._survivors(rows), starts, strict=True):
            self._new[token] = JOINS if not start else text and text[len(CARRIER) :]
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
        rows = zip(prompts, texts, self._tokenizer.encode(texts), strict=True)
        return [text if tuple(back) == ids and is_line(text) else None for ids, text, back in rows]


def is_line(text: str) -> bool:
    """Whether a text is one line."""
    return text.splitlines() == [text]


@lru_cache(maxsize=8)
def last_words(tokenizer: WordTokenizer) -> LastWords:
    """What is kept of a tokenizer's last words, one for each tokenizer."""
    return LastWords(tokenizer)
