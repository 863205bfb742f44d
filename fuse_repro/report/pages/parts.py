"""Data of the parts that several pages have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Tile:
    """One number and what it is.

    Attributes:
        value: the number, as text.
        label: what it is.
        note: more about it, or None.
        alarm: whether it is a bad sign.
    """

    value: str
    label: str
    note: str | None = None
    alarm: bool = False


def split(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """The records that are done, and those that failed."""
    done = [record for record in records if record.get("status") == "done"]
    return done, [record for record in records if record.get("status") != "done"]


def counts(done: Sequence[Record], failed: Sequence[Record], label: str) -> list[Tile]:
    """How many items are done, under this label, and how many failed."""
    return [Tile(str(len(done)), label), Tile(str(len(failed)), "failed", alarm=bool(failed))]
