"""Sentiment accuracy of captions, by a judge that no search has used."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torchmetrics.classification import MulticlassAccuracy

from fuse_repro.errors import UsageError, require

LABELS = ("negative", "neutral", "positive")
THRESHOLD = 0.05  # of the compound score, as VADER's authors have it
JUDGE = "VADER"


def judged(texts: Sequence[str]) -> list[str]:
    """The sentiment of every text by VADER (Hutto and Gilbert 2014), a lexicon of its own with rules and no model.

    A text is positive from a compound score of 0.05 on, negative from -0.05 down, and otherwise neutral.
    """
    analyzer = _vader()
    scores = [analyzer.polarity_scores(text)["compound"] for text in texts]
    return [
        "positive" if score >= THRESHOLD else "negative" if score <= -THRESHOLD else "neutral"
        for score in scores
    ]


def sentiment_accuracy(texts: Sequence[str], wanted: Sequence[str]) -> dict[str, float | int | str]:
    """Share of the texts that the judge gives the wanted sentiment, over all of them and for each sentiment.

    Args:
        texts: captions without their fixed prefix.
        wanted: negative, neutral or positive, for each.

    Raises:
        UsageError: no texts, not as many sentiments, or an unknown one.
    """
    if not texts or len(texts) != len(wanted):
        raise UsageError(
            f"{len(texts)} texts and {len(wanted)} sentiments: give as many of each, at least one"
        )
    for label in wanted:
        require(label in LABELS, "sentiment", label, f"one of {', '.join(LABELS)}")
    found, truth = (torch.tensor([LABELS.index(label) for label in row]) for row in (judged(texts), wanted))
    each = MulticlassAccuracy(num_classes=len(LABELS), average="none")(found, truth)
    overall = MulticlassAccuracy(num_classes=len(LABELS), average="micro")(found, truth)
    scores = {label: float(each[LABELS.index(label)]) for label in sorted(set(wanted))}
    return {"accuracy": float(overall), **scores, "items": len(texts), "judge": JUDGE}


@cache
def _vader() -> Any:
    from vaderSentiment.vaderSentiment import (  # type: ignore[import-untyped]
        SentimentIntensityAnalyzer,
    )

    return SentimentIntensityAnalyzer()
