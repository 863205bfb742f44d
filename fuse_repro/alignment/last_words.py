"""Texts that differ in their last words: what they have in common is read once, and every last word once."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from fuse_repro.alignment.word_ends import last_cut
from fuse_repro.alignment.words import CARRIER, Tokenized, WordTokenizer

TEXTS = 2**16  # last words of texts that are kept
TOGETHER = 2**8  # last words that are read as one text
WORDS = 2**8  # last words of prompts whose continuations are kept
SPACED = f"{CARRIER} "  # how a text begins whose first word is the carrier
JOINS = ""  # stands for a token that goes on with the last word
BROKEN = "\ufffd"  # how bytes are written that are no text


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
        self._written: dict[int, str] = {}
        self._new: dict[int, str | None] = {}
        self._joined: dict[tuple[int, ...], dict[int, str | None]] = {}

    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """As `WordTokenizer.encode`, in tuples.

        Raises:
            UsageError: see there.
        """
        if not self._ends:
            return list(map(tuple, self._tokenizer.encode(texts)))
        beginnings, words = self._parts(texts)
        shared = list(dict.fromkeys(beginnings))
        known = dict(zip(shared, map(tuple, self._tokenizer.encode(shared)), strict=True))
        self._read.update(self._following(_unknown(words, self._read)))
        read = self._read
        return [known[beginning] + read[word] for beginning, word in zip(beginnings, words, strict=True)]

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
        ended = text[-1] in self._ends and self.encode([text]) == [prompt]
        new = self._starting(tokens) if ended else dict.fromkeys(tokens, JOINS)
        joined = self._joining(word, [token for token in tokens if new[token] == JOINS])
        found: list[str | None] = []
        for token in tokens:
            if more := new[token]:
                found.append(text + more)
            elif more is None or (more := joined[token]) is None:
                found.append(None)
            else:
                found.append(beginning + more)
        return found

    def _parts(self, texts: Sequence[str]) -> tuple[list[str], list[str]]:
        """What stands before the last word of every text, and that word with its space; "" where there is no cut."""
        ends = self._ends
        places = [  # `last_cut` is seldom needed, and a call costs more than the rest
            place
            if (place := text.rfind(" ")) > 0 and text[place - 1] in ends
            else last_cut(text, ends) or len(text)
            for text in texts
        ]
        cuts = list(zip(texts, places, strict=True))
        return [text[:place] for text, place in cuts], [text[place:] for text, place in cuts]

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
        texts = [text if text.startswith(" ") else None for text in self._added(new)]
        self._new.update(zip(new, self._standing([(token,) for token in new], texts, JOINS), strict=True))
        return self._new

    def _joining(self, word: tuple[int, ...], tokens: Iterable[int]) -> dict[int, str | None]:
        """The text of the last word of a prompt with each of the tokens, or None."""
        if len(self._joined) > WORDS:
            self._joined.clear()
        known = self._joined.setdefault(word, {})
        new = [token for token in tokens if token not in known]
        words = [(*word, token) for token in new]
        known.update(zip(new, self._standing(words, self._continuing(word, new), None), strict=True))
        return known

    def _added(self, tokens: Sequence[int]) -> list[str]:
        """What each of the tokens adds to the carrier; BROKEN where it changes the carrier itself."""
        new = [token for token in tokens if token not in self._written]
        texts = self._tokenizer.decode([(*self._lead, token) for token in new])
        added = (text[len(CARRIER) :] if text.startswith(CARRIER) else BROKEN for text in texts)
        self._written.update(zip(new, added, strict=True))
        return [self._written[token] for token in tokens]

    def _continuing(self, word: tuple[int, ...], tokens: Sequence[int]) -> list[str | None]:
        """What a last word and each of the tokens add to the carrier; None where that is not a space first."""
        (begun,) = self._tokenizer.decode([(*self._lead, *word)])
        added = self._added(tokens)
        apart = self._tokenizer.writes_apart and begun.startswith(SPACED) and BROKEN not in begun
        whole = [token for token, text in zip(tokens, added, strict=True) if not apart or BROKEN in text]
        decoded = iter(self._tokenizer.decode([(*self._lead, *word, token) for token in whole]))
        texts = [begun + text if apart and BROKEN not in text else next(decoded) for text in added]
        return [text[len(CARRIER) :] if text.startswith(SPACED) else None for text in texts]

    def _standing(
        self, words: Sequence[tuple[int, ...]], texts: Sequence[str | None], other: str | None
    ) -> list[str | None]:
        """What tokens add to any text that ends with a word; None where that is not read back as these tokens.

        Args:
            words: tokens behind a text, each once.
            texts: what they add; None for tokens that go on with the text's own last word.
            other: given for those.
        """
        read = self._following([text for text in dict.fromkeys(texts) if text is not None])
        return [
            other if text is None else text if read[text] == ids and is_line(text) else None
            for ids, text in zip(words, texts, strict=True)
        ]

    def _following(self, words: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """The tokens of last words, as they stand behind any word end.

        Words that end in a word end themselves are read as one long text, which can be cut between them.
        """
        joined = [word for word in words if word[:1] == " " and word[-1] in self._ends]
        found: dict[str, tuple[int, ...]] = {}
        for begin in range(0, len(joined), TOGETHER):
            part = joined[begin : begin + TOGETHER]
            found.update(zip(part, self._tokenizer.encode_parts([CARRIER, *part])[1:], strict=True))
        alone = [word for word in words if word not in found]
        encoded = self._tokenizer.encode([CARRIER + word for word in alone])
        found.update((word, tuple(ids[len(self._lead) :])) for word, ids in zip(alone, encoded, strict=True))
        return found

    def _survivors(self, prompts: Sequence[tuple[int, ...]]) -> list[str | None]:
        """The text of every prompt, or None where it is not read back, by whole tokenisation."""
        texts = self._tokenizer.decode(prompts)
        rows = zip(prompts, texts, self._tokenizer.encode(texts), strict=True)
        return [text if tuple(back) == ids and is_line(text) else None for ids, text, back in rows]


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
