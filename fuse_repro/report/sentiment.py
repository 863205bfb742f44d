"""Captions of the same photographs without and with sentiment, side by side (FUSE, Figure 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.report.markup import MISSING, Html, element, join, number, table

ORDER = ("none", "positive", "neutral", "negative")


def sentiment_table(records: Sequence[Mapping[str, Any]]) -> Html:
    """One row per photograph, one column per sentiment; under each caption its distance to the photograph.

    Records without a `sentiment` are left out; nothing at all gives an empty string.
    """
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        if record.get("status") == "done" and record.get("sentiment"):
            rows.setdefault(str(record["image_id"]), {})[record["sentiment"]] = record
    if not rows:
        return Html("")
    known = {sentiment for captions in rows.values() for sentiment in captions}
    columns = [sentiment for sentiment in ORDER if sentiment in known]
    head = ["Photo", *("Without" if sentiment == "none" else sentiment.capitalize() for sentiment in columns)]
    body = [[image, *(_cell(captions.get(column)) for column in columns)] for image, captions in rows.items()]
    return table(head, body)


def _cell(record: Mapping[str, Any] | None) -> Html:
    if record is None:
        return Html(MISSING)
    terms = record["terms"]
    shown = [f"{name} {number(terms[name]['raw'])}" for name in ("image", "sentiment") if name in terms]
    return join([record["caption"], element("br"), element("small", ", ".join(shown))])
