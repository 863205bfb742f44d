"""Word corpora from which adapters are fitted: ordered lists of distinct, whitespace-free words.

Every corpus is deterministic: the same arguments give the same words in the same order.
"""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from fuse_repro.errors import UsageError, quoted, require
from fuse_repro.storage.reading import open_text

OUTER_PUNCTUATION = (
    ".,;:!?\"'`()[]{}<>-_*/\\|~=+#@^\u00ab\u00bb\u201c\u201d\u201e\u2018\u2019\u2026\u2013\u2014"
)


class WordCorpus(ABC):
    """An ordered tuple of distinct words, made once, with a fingerprint for cache keys."""

    def words(self) -> tuple[str, ...]:
        """The words, most frequent first; none is empty or holds whitespace."""
        return self._words

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the words in their order."""
        return hashlib.sha256("\n".join(self.words()).encode()).hexdigest()

    @cached_property
    def _words(self) -> tuple[str, ...]:
        return tuple(self._collect())

    @abstractmethod
    def _collect(self) -> Sequence[str]: ...


class WordfreqCorpus(WordCorpus):
    """The most frequent words of a language, from the data the wordfreq package ships; needs no network.

    wordfreq writes numbers as their shape ("00" for every number of two digits); such entries are left out,
    since they are no words of running text.

    Args:
        language: wordfreq's code of the language, e.g. "en".
        size: number of words given, capitalised forms included.
        cased: wordfreq is lower case throughout; if True, the Capitalised form follows each word.

    Raises:
        UsageError: for a language wordfreq does not know, or more words than it holds.
    """

    def __init__(self, language: str = "en", size: int = 200_000, cased: bool = True) -> None:
        _require_size(size)
        self.language, self.size, self.cased = language, size, cased

    def _collect(self) -> Sequence[str]:
        import wordfreq

        if self.language not in (known := wordfreq.available_languages("best")):
            require(False, "corpus.language", self.language, f"wordfreq knows {', '.join(sorted(known))}")
        listed = wordfreq.top_n_list(self.language, 2 * self.size + 1000)
        real = (word for word in listed if "00" not in word)
        forms = (form for word in real for form in ((word, word.capitalize()) if self.cased else (word,)))
        words = list(dict.fromkeys(forms))
        require(
            len(words) >= self.size,
            "corpus.size",
            self.size,
            f"wordfreq has {len(words)} words of {self.language!r}",
        )
        return words[: self.size]


class TextFileCorpus(WordCorpus):
    """The words of UTF-8 text files, most frequent first, equally frequent ones alphabetically; case is kept.

    Args:
        path: one text file, or several.
        size: number of words given; None for all.
        strip_punctuation: remove punctuation around each word, so that "mat." counts as "mat".

    Raises:
        UsageError: for a file that is missing, not UTF-8 text or without words, or fewer words than `size`.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str | Path],
        size: int | None = None,
        strip_punctuation: bool = True,
    ) -> None:
        _require_size(size)
        self.paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
        require(bool(self.paths), "corpus.path", path, "at least one text file")
        self.size, self.strip_punctuation = size, strip_punctuation

    def _collect(self) -> Sequence[str]:
        counts: Counter[str] = Counter()
        for path in self.paths:
            try:
                with open_text(path) as lines:
                    _count(counts, lines, self.strip_punctuation)
            except OSError as err:
                raise UsageError(
                    f"corpus.path={quoted(str(path))} cannot be read ({err.strerror}): give a text file"
                ) from err
            except UnicodeDecodeError as err:
                raise UsageError(
                    f"corpus.path={quoted(str(path))} is not UTF-8 text ({err.reason}): convert it"
                ) from err
        return _ranked(counts, self.size, ", ".join(map(str, self.paths)))


class WikiTextCorpus(WordCorpus):
    """The words of WikiText (Merity et al. 2017), the FUSE paper's corpus, by the `datasets` library.

    Words keep their case; the data set's own marks ("<unk>", "@-@") and lone punctuation are left out.

    Args:
        name: configuration of the data set, e.g. "wikitext-2-raw-v1" or "wikitext-103-raw-v1".
        split: train, validation or test.
        size: number of words given; None for all.

    Raises:
        UsageError: without the `hub` extra or a network, or for fewer words than `size`.
    """

    def __init__(
        self, name: str = "wikitext-103-raw-v1", split: str = "train", size: int | None = None
    ) -> None:
        _require_size(size)
        self.name, self.split, self.size = name, split, size

    def _collect(self) -> Sequence[str]:
        try:
            from datasets import load_dataset
        except ImportError as err:
            remedy = "pip install 'fuse_repro[hub]', or use corpus=wordfreq"
            raise UsageError(f"corpus=wikitext needs the datasets library: {remedy}") from err
        try:
            lines = load_dataset("Salesforce/wikitext", self.name, split=self.split)["text"]
        except Exception as err:  # the library passes on whatever its many network layers raise
            reason = " ".join(str(err).split())[:200]
            remedy = "check the name, the split and the network, or use corpus=wordfreq"
            origin = f"corpus=wikitext: {self.name!r} ({self.split})"
            raise UsageError(f"{origin} cannot be loaded ({reason}): {remedy}") from err
        counts: Counter[str] = Counter()
        _count(counts, (line.replace("<unk>", " ") for line in lines), strip_punctuation=True)
        return _ranked(counts, self.size, self.name)


def _count(counts: Counter[str], lines: Iterable[str], strip_punctuation: bool) -> None:
    for line in lines:
        words = line.split()
        counts.update([word.strip(OUTER_PUNCTUATION) for word in words] if strip_punctuation else words)
    counts.pop("", None)


def _ranked(counts: Counter[str], size: int | None, origin: str) -> list[str]:
    """Words by falling count, then alphabetically; the first `size` of them.

    Raises:
        UsageError: no words, or fewer words than `size`.
    """
    if not counts:
        raise UsageError(f"{origin} holds no words: give text with words in it")
    require(
        size is None or size <= len(counts),
        "corpus.size",
        size,
        f"{origin} has {len(counts)} different words",
    )
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]


def _require_size(size: int | None) -> None:
    require(size is None or size >= 1, "corpus.size", size, "a whole number from 1 on")
