"""What a search costs, counted where the cost arises: at the objective."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fuse_repro.objectives import LossValues, MultiObjectiveLoss, PromptBatch


@dataclass
class Counts:
    """How much of the objective was computed.

    Attributes:
        evaluations: prompts whose objective was computed, with or without its gradient.
        gradients: prompts, or points of a prompt's open token, through which a gradient was taken.
    """

    evaluations: int = 0
    gradients: int = 0


@contextmanager
def counting(objective: MultiObjectiveLoss) -> Iterator[Counts]:
    """Counts what the objective computes inside the `with` block."""
    counts = Counts()

    def note(_: Any, arguments: tuple[PromptBatch], values: LossValues) -> None:
        (batch,) = arguments
        rows = values.total.shape[0]
        counts.gradients += rows if batch.embeddings is not None else 0
        counts.evaluations += rows if batch.slot is None else 0

    handle = objective.register_forward_hook(note)
    try:
        yield counts
    finally:
        handle.remove()
