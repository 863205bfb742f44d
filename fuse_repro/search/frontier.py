"""Which hypotheses a search keeps."""

from collections.abc import Iterable
from dataclasses import dataclass

from fuse_repro.errors import require
from fuse_repro.search.problem import Hypothesis


@dataclass(frozen=True)
class Beam:
    """The `width` hypotheses of least objective; width 1 is greedy search."""

    width: int = 5

    def __post_init__(self) -> None:
        require(self.width >= 1, "optimizer.beam", self.width, "at least 1 (1 is greedy search)")

    def select(self, pool: Iterable[Hypothesis]) -> list[Hypothesis]:
        """Best first; of equals the first in the pool."""
        return _sorted(pool)[: self.width]

    def best(self, pool: Iterable[Hypothesis]) -> list[Hypothesis]:
        """The one of least objective, if any."""
        return _sorted(pool)[:1]


def _sorted(pool: Iterable[Hypothesis]) -> list[Hypothesis]:
    return sorted(pool, key=lambda hypothesis: hypothesis.objective)
