"""Labelled texts for a sentiment head: sentences made from a published lexicon, or a file of labelled texts."""

import random
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from fuse_repro.errors import UsageError, require
from fuse_repro.storage.reading import read_text, text_lines
from fuse_repro.weights import fetch_wheel_files

NEGATIVE, NEUTRAL, POSITIVE = "negative", "neutral", "positive"
LABELS = (NEGATIVE, NEUTRAL, POSITIVE)
WHEEL = "textblob==0.20.1"
MEMBER = "textblob/en/en-sentiment.xml"
SHA256 = "0ca603db55570bab9b2865716a3696ede01e3da02b570c47628a9dbcc3b37d1e"
POLAR = 0.1  # words of less polarity count as neutral

OPINIONS = (
    "the {noun} is {first} .",
    "a {first} {noun} .",
    "{first} {noun} , and {second} .",
    "the {noun} , while {first} , is {second} .",
    "it 's a {first} and {second} {noun} .",
    "this {noun} feels {first} and {second} .",
    "i found the {noun} {first} .",
)
NEGATIONS = (
    "the {noun} is not {first} .",
    "never {first} , and hardly {second} .",
    "it is n't a {first} {noun} .",
)
TURN = "the {noun} is {opposite} , but {first} and {second} ."
PLAIN = ("a {noun} .", "a photo of a {noun} .", "a {noun} next to a {other} .", "the {noun} is {first} .")
REVIEWED = (
    "movie",
    "film",
    "story",
    "acting",
    "plot",
    "scene",
    "character",
    "comedy",
    "drama",
    "script",
    "performance",
    "picture",
    "director",
    "ending",
    "dialogue",
    "cast",
    "music",
    "moment",
    "thriller",
    "experience",
)

Example = tuple[str, str]


def polarities(cache_dir: str | Path | None = None) -> dict[str, float]:
    """Word -> polarity in [-1, 1], the mean over its senses, in the order of the lexicon.

    The lexicon of English adjectives by De Smedt and Daelemans (2012; public domain, PDDL), which TextBlob
    ships.

    Raises:
        UsageError: on first use, without a network or with an unwritable cache.
    """
    path = fetch_wheel_files(WHEEL, {MEMBER: SHA256}, cache_dir)[MEMBER]
    senses: dict[str, list[float]] = defaultdict(list)
    for word in ElementTree.parse(path).getroot():
        senses[word.attrib["form"]].append(float(word.attrib["polarity"]))
    return {word: fmean(values) for word, values in senses.items()}


def lexicon_examples(
    words: Mapping[str, float], nouns: Sequence[str], count: int = 2000, seed: int = 0
) -> list[Example]:
    """Every polar word by itself, and `count` sentences of each label made of the words and `nouns`.

    Of the opinions one in six is negated, which turns its label, and one in eight turns with "but" after an
    adjective of the other sign. Every noun is praised and blamed alike, so that topics tell nothing.

    Args:
        words: word -> polarity in [-1, 1].
        nouns: what the sentences are about.
        count: sentences of each label.
        seed: of every random choice.

    Raises:
        UsageError: a count below 1.
    """
    require(count >= 1, "count", count, "at least 1")
    chance = random.Random(seed)
    things = [*nouns, *REVIEWED * max(1, len(nouns) // (4 * len(REVIEWED)))]
    by_label = {
        NEGATIVE: [word for word, value in words.items() if value <= -POLAR],
        NEUTRAL: [word for word, value in words.items() if abs(value) < POLAR / 2],
        POSITIVE: [word for word, value in words.items() if value >= POLAR],
    }
    examples = [(word, label) for label in (NEGATIVE, POSITIVE) for word in by_label[label]]
    for _ in range(count):
        for label, other in ((NEGATIVE, POSITIVE), (POSITIVE, NEGATIVE)):
            kind = chance.random()
            template = chance.choice(OPINIONS if kind < 0.72 else NEGATIONS) if kind < 0.88 else TURN
            text = template.format(
                noun=chance.choice(things),
                first=chance.choice(by_label[label]),
                second=chance.choice(by_label[label]),
                opposite=chance.choice(by_label[other]),
            )
            examples.append((text, other if template in NEGATIONS else label))
        noun, other_noun = chance.choice(things), chance.choice(things)
        plain = chance.choice(PLAIN).format(
            noun=noun, other=other_noun, first=chance.choice(by_label[NEUTRAL])
        )
        examples.append((plain, NEUTRAL))
    return examples


def labelled_file(path: str | Path, limit: int | None = None, seed: int = 0) -> list[Example]:
    """Texts with labels from a .tsv file with a header line: text TAB 0 (negative) or 1 (positive), as in SST-2.

    Args:
        path: the file.
        limit: a random choice of so many lines; None for all.
        seed: of that choice.

    Raises:
        UsageError: a file that cannot be read, or a line that is not in the format.
    """
    path = Path(path).expanduser()
    content = read_text(
        path, lambda why: UsageError(f"examples={str(path)!r} cannot be read ({why}): give a UTF-8 .tsv file")
    )
    lines = [line for line in text_lines(content)[1:] if line.strip()]
    if limit is not None and limit < len(lines):
        lines = random.Random(seed).sample(lines, limit)
    examples = []
    for line in lines:
        text, _, label = line.rpartition("\t")
        if label not in ("0", "1") or not text.strip():
            raise UsageError(f"examples={str(path)!r}: line {line[:60]!r} is no text TAB 0 or 1")
        examples.append((text.strip(), POSITIVE if label == "1" else NEGATIVE))
    require(bool(examples), "examples", str(path), "a file with at least one text after its header")
    return examples
