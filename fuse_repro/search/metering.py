"""What a search costs, counted where the cost arises: at the objective."""

import time
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
        begun: when the counting began, by the clock that `reach` reads.
    """

    evaluations: int = 0
    gradients: int = 0
    meter: Meter = field(default_factory=Meter)
    begun: float = field(default_factory=lambda: time.monotonic(), compare=False)

    def add(self, other: "Counts") -> None:
        """Count as well what others counted."""
        self.evaluations += other.evaluations
        self.gradients += other.gradients
        self.meter.add(other.meter)

    def reach(self, max_flops: float | None, max_seconds: float | None = None) -> bool:
        """Whether the models have computed so many operations, or so much time has gone by; None is no bound."""
        if max_seconds is not None and time.monotonic() - self.begun >= max_seconds:
            return True
        return max_flops is not None and self.meter.flops >= max_flops


def check_bounds(max_evaluations: int | None, max_flops: object, max_seconds: object) -> None:
    """Raise UsageError unless `optimizer.max_...` are bounds that a search may have, or None."""
    good = max_evaluations is None or max_evaluations >= 1
    require(good, "optimizer.max_evaluations", max_evaluations, "at least 1, or null for no bound")
    flops = "floating-point operations of one search, above 0, such as 1e13; or null for no bound"
    require(_is_bound(max_flops), "optimizer.max_flops", max_flops, flops)
    seconds = "seconds of one search, above 0, such as 60; or null for no bound"
    require(_is_bound(max_seconds), "optimizer.max_seconds", max_seconds, seconds)


def _is_bound(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and isfinite(float(str(value))) and float(str(value)) > 0)


@contextmanager
def counting(
    objective: MultiObjectiveLoss, counts: Counts | None = None, guide: MultiObjectiveLoss | None = None
) -> Iterator[Counts]:
    """Counts what the objective computes inside the `with` block.

    Args:
        objective: whose calls are counted.
        counts: those that go on; None for new ones.
        guide: whose gradients are taken in place of the objective's; they count as gradients alone.
    """
    counts = Counts() if counts is None else counts

    def note(counted: Any, arguments: tuple[PromptBatch], values: LossValues) -> None:
        (batch,) = arguments
        rows = values.total.shape[0]
        counts.gradients += rows if batch.embeddings is not None else 0
        if counted is objective:
            counts.evaluations += rows if batch.slot is None else 0

    counted_ones = [objective] if guide is None else [objective, guide]
    with metering(counts.meter):
        handles = [one.register_forward_hook(note) for one in counted_ones]
        try:
            yield counts
        finally:
            for handle in handles:
                handle.remove()
