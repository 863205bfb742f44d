"""What a search costs, counted where the cost arises: at the objective."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from fuse_repro.errors import require
from fuse_repro.models.metering import Meter, metering
from fuse_repro.objectives import LossValues, MultiObjectiveLoss, PromptBatch


@dataclass
class Counts:
    """How much of the objective was computed.

    Attributes:
        evaluations: prompts whose objective was computed, with or without its gradient.
        gradients: prompts, or points of a prompt's open token, through which a gradient was taken.
        meter: what the models computed, for whatever reason.
    """

    evaluations: int = 0
    gradients: int = 0
    meter: Meter = field(default_factory=Meter)

    def add(self, other: "Counts") -> None:
        """Count as well what others counted."""
        self.evaluations += other.evaluations
        self.gradients += other.gradients
        self.meter.add(other.meter)

    def reach(self, max_flops: float | None) -> bool:
        """Whether the models have computed so many floating-point operations; never, where there is no bound."""
        return max_flops is not None and self.meter.flops >= max_flops


def check_max_flops(value: object) -> None:
    """Raise UsageError unless `optimizer.max_flops` is a number of operations that a search may have."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    good = value is None or (number and isfinite(float(str(value))) and float(str(value)) > 0)
    allowed = "floating-point operations of one search, above 0, such as 1e13; or null for no bound"
    require(good, "optimizer.max_flops", value, allowed)


@contextmanager
def counting(objective: MultiObjectiveLoss, counts: Counts | None = None) -> Iterator[Counts]:
    """Counts what the objective computes inside the `with` block.

    Args:
        objective: whose calls are counted.
        counts: those that go on; None for new ones.
    """
    counts = Counts() if counts is None else counts

    def note(_: Any, arguments: tuple[PromptBatch], values: LossValues) -> None:
        (batch,) = arguments
        rows = values.total.shape[0]
        counts.gradients += rows if batch.embeddings is not None else 0
        counts.evaluations += rows if batch.slot is None else 0

    with metering(counts.meter):
        handle = objective.register_forward_hook(note)
        try:
            yield counts
        finally:
            handle.remove()
