"""Probe sampling: a cheap draft of the objective says which candidates are worth the objective itself.

After Zhao et al. 2024 (arXiv 2403.01251). How far the draft is trusted is measured in every step, on a few candidates
that are drawn at random.
"""

from dataclasses import dataclass
from math import ceil

from torch import Tensor

from fuse_repro.errors import require
from fuse_repro.metrics.fidelity import spearman

LEAST = 4  # candidates that an agreement is measured on
DIGITS = 9  # beyond them a share is rounding


@dataclass(frozen=True)
class Probing:
    """How many of B candidates the objective itself is computed for.

    Attributes:
        share: one candidate in so many is a probe; at least 4 are.
        filter: of a draft that is not trusted at all, one candidate in so many is taken.
        seed: of which candidates are probes.

    Raises:
        UsageError: a setting out of range.
    """

    share: int = 16
    filter: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.share >= 1, "optimizer.probe", self.share, "at least 1, or null for no probing")
        require(self.filter >= 1, "optimizer.probe_filter", self.filter, "at least 1")

    def probes(self, count: int) -> int:
        """How many of so many candidates are probes."""
        return min(count, max(LEAST, ceil(count / self.share)))

    def filtered(self, count: int, agreement: float) -> int:
        """How many of the draft's best are taken; fewer, the more the draft agrees with the objective (0 to 1)."""
        return max(1, ceil(round((1 - agreement) * count / self.filter, DIGITS)))


def agreement(draft: Tensor, true: Tensor) -> float:
    """How far two lists of values [n] rank alike: 0 for the opposite order, 1 for the same; 0.5 where one has no order.

    It is (1 + Spearman's rank correlation) / 2.
    """
    return (1 + spearman(draft, true)) / 2
