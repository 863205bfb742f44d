"""Which hypotheses a search keeps, and which of them it extends next."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fuse_repro.errors import require
from fuse_repro.search.problem import Hypothesis

FRONTIERS = ("beam", "greedy", "uniform_cost")
Chosen = tuple[list[Hypothesis], list[Hypothesis]]


class Frontier(Protocol):
    """A bound on the open hypotheses, and an order among them."""

    def choose(self, waiting: Sequence[Hypothesis], extended: Sequence[Hypothesis], longest: int) -> Chosen:
        """Those to extend next, and those that wait; the rest is dropped.

        waiting: the last call's. extended: what came of those that were extended since. longest: prompts of so
        many tokens are not extended any further.
        """
        ...

    def steps(self, tokens: int) -> int:
        """How many steps a search for `tokens` new tokens may take."""
        ...


@dataclass(frozen=True)
class Beam:
    """Extends the `width` best hypotheses, all of one length; nothing waits. Width 1 is greedy search."""

    width: int = 5

    def __post_init__(self) -> None:
        require(self.width >= 1, "optimizer.beam", self.width, "at least 1 (1 is greedy search)")

    def choose(self, waiting: Sequence[Hypothesis], extended: Sequence[Hypothesis], longest: int) -> Chosen:
        """See Frontier; of equals the first one comes first."""
        return best_first(extended)[: self.width], []

    def steps(self, tokens: int) -> int:
        """One for each token."""
        return tokens


@dataclass(frozen=True)
class UniformCost:
    """Extends the one hypothesis of least objective, whatever its length; at most `size` are open at any time.

    The objective is the cost: what a prompt costs now, without an estimate of what extending it may save.
    """

    size: int = 5

    def __post_init__(self) -> None:
        require(self.size >= 1, "optimizer.beam", self.size, "at least 1 (hypotheses kept open)")

    def choose(self, waiting: Sequence[Hypothesis], extended: Sequence[Hypothesis], longest: int) -> Chosen:
        """See Frontier; of equals the one that has waited longer comes first."""
        kept = best_first([*waiting, *extended])[: self.size]
        chosen = next((place for place, h in enumerate(kept) if len(h.ids) < longest), None)
        if chosen is None:
            return [], kept
        return [kept[chosen]], [*kept[:chosen], *kept[chosen + 1 :]]

    def steps(self, tokens: int) -> int:
        """As many hypotheses are extended as by a beam of this size."""
        return tokens * self.size


def best_first(pool: Iterable[Hypothesis]) -> list[Hypothesis]:
    """By objective; of equals the first in the pool comes first."""
    return sorted(pool, key=lambda hypothesis: hypothesis.objective)


def make_frontier(kind: str, kept: int) -> Frontier:
    """The frontier of this name that keeps so many hypotheses; "greedy" keeps one."""
    require(kind in FRONTIERS, "optimizer.frontier", kind, f"one of {', '.join(FRONTIERS)}")
    if kind == "uniform_cost":
        return UniformCost(kept)
    return Beam(1 if kind == "greedy" else kept)
