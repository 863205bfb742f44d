"""Numbers, times and addresses as a reader wants to see them; templates use these as filters."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

URL = re.compile(r"(https?://[^\s<>\"'),;]+)")
MISSING = "–"


@dataclass(frozen=True)
class Estimate:
    """A mean as text, and its interval.

    Attributes:
        mean: the mean.
        limits: "LOW to HIGH"; None where nothing was resampled.
    """

    mean: str
    limits: str | None = None


def number(value: object, digits: int = 3) -> str:
    """A number for people, with a true minus sign; a dash for what is missing or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return MISSING
    text = str(value) if isinstance(value, int) else f"{value:.{digits}f}"
    return text.replace("-", "−")


def percent(share: float | None) -> str:
    """A share as percent with one digit; a dash where there is none."""
    return MISSING if share is None else number(100.0 * share, 1)


def limits(found: Mapping[str, Any], digits: int = 2, scale: float = 1.0) -> str | None:
    """The interval "LOW to HIGH" of a mean.

    Args:
        found: `low` and `high`, and `count` where it is known how many values there were.
        digits: after the point.
        scale: what both are multiplied by, such as 100 for percent.

    Returns:
        None where there is no interval: a limit is missing or null, or there was a single value.
    """
    low, high = found.get("low"), found.get("high")
    if low is None or high is None or found.get("count", 2) < 2:
        return None
    return f"{number(scale * low, digits)} to {number(scale * high, digits)}"


def estimate(found: Mapping[str, Any] | None, digits: int = 2, scale: float = 1.0) -> Estimate | str:
    """`mean` and its interval for a cell of a table; a dash where there is none.

    Args:
        found: `mean`, and what `limits` needs; None where there is nothing.
        digits: after the point.
        scale: what the numbers are multiplied by, such as 100 for percent.
    """
    if not found:
        return MISSING
    return Estimate(number(scale * found["mean"], digits), limits(found, digits, scale))


def error(found: Mapping[str, Any] | None) -> Estimate | str:
    """A relative error for a cell of a table: a power of ten where it is small; a dash where there is none.

    Args:
        found: `mean`, `low`, `high` and `count`, all positive; None where there is nothing.
    """
    if not found:
        return MISSING
    mean, low, high = (_small(found[key]) for key in ("mean", "low", "high"))
    return Estimate(mean, f"{low} to {high}" if found["count"] > 1 else None)


def _small(value: float) -> str:
    return number(value, 2) if value >= 0.01 else f"{value:.0e}".replace("e-0", "e-").replace("-", "−")


def moment(value: object) -> str:
    """An ISO time as "2 May 2026, 14:03 UTC"; the text itself where it is none."""
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value) if value else MISSING
    return f"{time.day} {time:%B %Y, %H:%M} {time.tzname() or ''}".strip()


def links(text: str) -> list[tuple[str, str | None]]:
    """The text in pieces (shown, address): its http addresses without "https://", and what is between them.

    The address of a piece that is no link is None.
    """
    pieces: list[tuple[str, str | None]] = []
    for place, piece in enumerate(URL.split(text)):
        if place % 2:
            pieces.append((piece.split("://", 1)[1].removesuffix("/"), piece))
        elif piece:
            pieces.append((piece, None))
    return pieces
