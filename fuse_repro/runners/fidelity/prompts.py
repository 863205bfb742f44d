"""Prompts whose next token, or one of whose tokens, is to be chosen: cut from captions and from running text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.data.images import ImageItem
from fuse_repro.errors import UsageError, require
from fuse_repro.storage.reading import read_text

PLACES = ("next", "inside")
SPLITS = ("dev", "test", "all")
PLAIN = re.compile(r"[A-Za-z0-9 ,.'’-]+")


@dataclass(frozen=True)
class FidelityPrompt:
    """An open token between two texts.

    source: what it was cut from (bootstrap intervals resample these). corpus: captions or text. place: "next"
    (nothing comes after) or "inside" (one word of the prompt is open). length: words beyond the prefix.
    target_text: what a text objective should match. image: the photograph, for an image objective.
    """

    source: str
    corpus: str
    place: str
    length: int
    before: str
    after: str
    target_text: str
    image: Path | None = None

    @property
    def id(self) -> str:
        return f"{self.corpus}/{self.source}/{self.place}/{self.length}"


@dataclass(frozen=True)
class Sentence:
    """Words to cut prompts from, and what they should come to mean."""

    source: str
    corpus: str
    words: tuple[str, ...]
    target_text: str
    image: Path | None = None


def caption_sentences(items: Sequence[ImageItem], words: int) -> Iterator[Sentence]:
    """Per photograph its first caption of at least `words` words; the target is another of its captions."""
    for item in items:
        long = [text for text in item.references if len(text.split()) >= words]
        if long and len(item.references) > 1:
            other = next(text for text in item.references if text != long[0])
            yield Sentence(item.id, "captions", _words(long[0]), other.strip(), item.path)


def text_sentences(path: Path, words: int) -> Iterator[Sentence]:
    """Sentences of a text file of plain words, from `words` to three times as many; each is its own target."""
    content = read_text(
        path.expanduser(),
        lambda why: UsageError(
            f"runner.texts={str(path)!r} cannot be read ({why}): give a UTF-8 text file, or null"
        ),
    )
    number = 0
    for line in content.split("\n"):
        for text in line.split(" . "):
            sentence = text.replace(" ,", ",").replace(" 's", "'s").strip()
            if words <= len(sentence.split()) <= 3 * words and PLAIN.fullmatch(sentence):
                number += 1
                yield Sentence(f"s{number}", "text", _words(sentence), sentence)


def choose(sentences: Iterator[Sentence], split: str, count: int, stride: int = 1) -> list[Sentence]:
    """The first `count` of a split: dev takes the even ones, test the odd ones; of every `stride` one is looked at."""
    require(split in SPLITS, "runner.split", split, f"one of {', '.join(SPLITS)}")
    listed = list(sentences)[::stride]
    return {"dev": listed[0::2], "test": listed[1::2], "all": listed}[split][:count]


def cut(
    sentence: Sentence, place: str, length: int, prefix: str, tokenizer: WordTokenizer
) -> FidelityPrompt | None:
    """The prompt of `length` words. None where the tokenizer does not keep it, or no word inside is a single token."""
    require(place in PLACES, "runner.places", place, f"any of {', '.join(PLACES)}")
    head, words = prefix.split(), sentence.words[:length]
    text = " ".join([*head, *words])
    (tokens,) = tokenizer.split([text])
    if tokenizer.decode([tokens.ids]) != [text]:
        return None
    before, after = text, ""
    if place == "inside":
        single = [
            word for word, (start, stop) in enumerate(tokens.spans) if stop - start == 1 and word >= len(head)
        ]
        if not single:
            return None
        middle = single[len(single) // 2]
        before = " ".join([*head, *words][:middle])
        after = "".join(f" {word}" for word in [*head, *words][middle + 1 :])
    parts = (sentence.source, sentence.corpus, place, length, before, after)
    return FidelityPrompt(*parts, sentence.target_text, sentence.image)


def _words(text: str) -> tuple[str, ...]:
    """The words of a sentence as they stand inside a longer one: the first in lower case, no mark at the end."""
    words = text.strip().rstrip(".!? ").split()
    return (words[0].lower(), *words[1:])
