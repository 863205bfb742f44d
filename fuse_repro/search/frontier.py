"""Which hypotheses a search keeps, and which of them it extends next."""

from collections import Counter
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

        Args:
            waiting: those that the last call left waiting.
            extended: what came of those that were extended since.
            longest: prompts of so many tokens are not extended any further.
        """
        ...

    def steps(self, tokens: int) -> int:
        """How many steps a search for `tokens` new tokens may take."""
        ...


@dataclass(frozen=True)
class Beam:
    """Extends the `width` best hypotheses, all of one length; nothing waits.

    Attributes:
        width: how many are kept; 1 is greedy search.

    Raises:
        UsageError: a width below 1.
    """

    width: int = 5

    def __post_init__(self) -> None:
        require(self.width >= 1, "optimizer.beam", self.width, "at least 1 (1 is greedy search)")

    def choose(self, waiting: Sequence[Hypothesis], extended: Sequence[Hypothesis], longest: int) -> Chosen:
        """See Frontier; among equals the first one comes first."""
        return best_first(extended)[: self.width], []

    def steps(self, tokens: int) -> int:
        """One for each token."""
        return tokens


@dataclass(frozen=True)
class UniformCost:
    """Extends the one hypothesis of least objective, whatever its length.

    The objective is the cost: what a prompt costs now, without an estimate of what extending it may save.

    Attributes:
        size: how many hypotheses are open at any time, at the most.

    Raises:
        UsageError: a size below 1.
    """

    size: int = 5

    def __post_init__(self) -> None:
        require(self.size >= 1, "optimizer.beam", self.size, "at least 1 (hypotheses kept open)")

    def choose(self, waiting: Sequence[Hypothesis], extended: Sequence[Hypothesis], longest: int) -> Chosen:
        """See Frontier; among equals the one that has waited longer comes first."""
        kept = best_first([*waiting, *extended])[: self.size]
        chosen = next((place for place, h in enumerate(kept) if len(h.ids) < longest), None)
        if chosen is None:
            return [], kept
        return [kept[chosen]], [*kept[:chosen], *kept[chosen + 1 :]]

    def steps(self, tokens: int) -> int:
        """As many as a beam of this size extends hypotheses."""
        return tokens * self.size


def best_first(pool: Iterable[Hypothesis]) -> list[Hypothesis]:
    """The hypotheses by their objective, least first; among equals the first in the pool comes first."""
    return sorted(pool, key=lambda hypothesis: hypothesis.objective)


def unlike(pool: Iterable[Hypothesis], size: int, least: int) -> list[Hypothesis]:
    """The `size` best hypotheses, best first, of which any two differ in at least `least` words, in any order.

    Upper and lower case are the same.
    """
    kept: list[tuple[Hypothesis, Counter[str]]] = []
    for hypothesis in best_first(pool):
        if len(kept) == size:
            break
        words = Counter(hypothesis.text.casefold().split())
        if all(_difference(words, other) >= least for _, other in kept):
            kept.append((hypothesis, words))
    return [hypothesis for hypothesis, _ in kept]


def _difference(first: Counter[str], second: Counter[str]) -> int:
    """How many words of the longer one have no partner in the other one."""
    return max(first.total(), second.total()) - (first & second).total()


def make_frontier(kind: str, kept: int) -> Frontier:
    """The frontier of this name that keeps so many hypotheses; "greedy" keeps one.

    Raises:
        UsageError: an unknown name, or fewer than one hypothesis.
    """
    require(kind in FRONTIERS, "optimizer.frontier", kind, f"one of {', '.join(FRONTIERS)}")
    if kind == "uniform_cost":
        return UniformCost(kept)
    return Beam(1 if kind == "greedy" else kept)
