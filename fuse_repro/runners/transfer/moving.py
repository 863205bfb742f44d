"""A prompt moved by a fitted map, and what became of every row: what the command and the library share."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fuse_repro.adapters import EmbeddingMap, RelativePromptTransfer
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import SoftPrompt
from fuse_repro.prompts.nearest import NearRow, near_rows


@dataclass(frozen=True)
class MovedRow:
    """One row of a prompt, before and after.

    Attributes:
        before: beside the embeddings of the model that it was tuned on.
        after: beside those of the model that it was moved to.
        far: whether it is farther from every word there than nearly all tokens are from their nearest other one.
        matching_loss: the distance of its relative representation to that of the source, in [0, 2]; None for a map
            that matches none.
    """

    before: NearRow
    after: NearRow
    far: bool
    matching_loss: float | None


def moved(
    fitted: EmbeddingMap, own: Sequence[Tensor], objective: MultiObjectiveLoss | None = None
) -> tuple[Tensor, Tensor | None]:
    """The moved prompt [m, d_t], and the matching loss of every row [m] where the map matches.

    Args:
        fitted: the map.
        own: one prompt [m, d] per source.
        objective: what a map that searches minimises; None for eq. 7 with the map's weights.
    """
    if not isinstance(fitted, RelativePromptTransfer):
        return fitted.transfer(own[0]), None
    result = fitted.solve(own, objective=objective)
    return result.prompt, result.matching_loss


def moved_rows(
    before: tuple[FrozenModel, SoftPrompt],
    after: tuple[FrozenModel, SoftPrompt],
    losses: Tensor | None,
    least: float,
) -> list[MovedRow]:
    """What every row lies near, in both models.

    Args:
        before: the source model and its prompt.
        after: the target model and the moved prompt.
        losses: [m], the matching losses, if any.
        least: the cosine to the nearest word below which a row is far from all (`lonely`).
    """
    rows = zip(*(near_rows(lm, prompt.embeddings) for lm, prompt in (before, after)), strict=True)
    return [
        MovedRow(one, other, other.words[0][1] < least, None if losses is None else float(losses[place]))
        for place, (one, other) in enumerate(rows)
    ]
