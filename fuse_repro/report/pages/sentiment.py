"""Captions of the same photographs without and with sentiment, side by side (FUSE, Figure 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.report.formats import number
from fuse_repro.report.pages.captions import captions_content
from fuse_repro.report.pages.parts import Record

ORDER = ("none", "positive", "neutral", "negative")


def is_sentiment(records: Sequence[Record], _results: Mapping[str, Any]) -> bool:
    """Whether captions with a sentiment are among these records."""
    return bool(sentiment_table(records))


def sentiment_content(records: Sequence[Record], results: Mapping[str, Any]) -> dict[str, Any]:
    """As for captions, and the captions of every photograph in one table."""
    return captions_content(records, results) | {"sentiments": sentiment_table(records)}


def sentiment_table(records: Sequence[Record]) -> dict[str, Any] | None:
    """`head`, and `rows` (photograph, a cell per sentiment).

    A cell is the `caption` and its distances as `values`, or None. Records without a `sentiment` are left
    out.

    Returns:
        None where there is no record with a sentiment.
    """
    rows: dict[str, dict[str, Record]] = {}
    for record in records:
        if record.get("status") == "done" and record.get("sentiment"):
            rows.setdefault(str(record["image_id"]), {})[record["sentiment"]] = record
    if not rows:
        return None
    known = {sentiment for captions in rows.values() for sentiment in captions}
    columns = [sentiment for sentiment in ORDER if sentiment in known]
    head = ["Photo", *("Without" if sentiment == "none" else sentiment.capitalize() for sentiment in columns)]
    body = [(image, [_cell(captions.get(column)) for column in columns]) for image, captions in rows.items()]
    return {"head": head, "rows": body}


def _cell(record: Record | None) -> dict[str, str] | None:
    if record is None:
        return None
    terms = record["terms"]
    shown = [f"{name} {number(terms[name]['raw'])}" for name in ("image", "sentiment") if name in terms]
    return {"caption": record["caption"], "values": ", ".join(shown)}
