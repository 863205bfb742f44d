"""Records as flat rows."""

from collections.abc import Mapping
from typing import Any

Scalar = str | int | float | bool | None


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested values under dotted names; lists, such as a search's steps, are left to records.jsonl.

    >>> flat({"id": "a", "terms": {"image": {"raw": 0.5}}, "steps": []})
    {'id': 'a', 'terms.image.raw': 0.5}
    """
    row: dict[str, Scalar] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            row |= flat(value, f"{prefix}{key}.")
        elif value is None or isinstance(value, str | int | float | bool):
            row[f"{prefix}{key}"] = value
    return row


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The flat row's numbers."""
    return {
        key: value
        for key, value in flat(record).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def columns(rows: list[dict[str, Scalar]]) -> list[str]:
    """Every column of these rows, in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))
