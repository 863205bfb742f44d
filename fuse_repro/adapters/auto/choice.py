"""What a map was chosen by, and what the others would have given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fuse_repro.errors import UsageError

ROUND_TRIP, WORDS = "round_trip", "words"
CRITERIA = (ROUND_TRIP, WORDS)
Rating = Callable[[Tensor], tuple[float, float]]
"""Asks the source model its development items with a prompt [m, d_s]: precision@1, and the loss in nats."""


@dataclass(frozen=True)
class Judged:
    """One candidate, as its criterion sees it.

    Attributes:
        name: of the candidate.
        values: measure -> value; empty where it could not be judged.
        rank: higher is better, compared from the first number on; empty where it could not be judged.
        error: why it could not be judged, in one line.
    """

    name: str
    values: Mapping[str, float]
    rank: tuple[float, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Choice:
    """Which candidate was taken.

    Attributes:
        criterion: `round_trip` or `words`.
        judged: all candidates, best first; those that could not be judged last.
    """

    criterion: str
    judged: tuple[Judged, ...]

    @classmethod
    def among(cls, criterion: str, judged: list[Judged]) -> "Choice":
        """The best first; ties keep the order that they are given in.

        Raises:
            UsageError: none of them could be judged.
        """
        able = sorted((one for one in judged if one.rank), key=lambda one: one.rank, reverse=True)
        if not able:
            first = judged[0]
            raise UsageError(f"adapter=auto has nothing to choose by: {first.name}: {first.error}")
        return cls(criterion, (*able, *(one for one in judged if not one.rank)))

    @property
    def chosen(self) -> str:
        """The name of the candidate that was taken."""
        return self.judged[0].name

    def record(self) -> dict[str, Any]:
        """What a record says: the candidate taken, the criterion, and what it gave every candidate."""
        return {
            "chosen": self.chosen,
            "criterion": self.criterion,
            "candidates": {
                one.name: dict(one.values) if one.error is None else {"error": one.error}
                for one in self.judged
            },
        }
