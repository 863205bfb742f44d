"""How far a target prompt's relative representation is from that of a source prompt (PTfer, eq. 5 and 7)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import normalize

from fuse_repro.errors import require
from fuse_repro.loss import MultiObjectiveLoss


@dataclass(frozen=True)
class RelativeBatch:
    """B target prompt rows. encoding: [B, K], their cosines to the target model's K anchors (eq. 4)."""

    encoding: Tensor


class RelativeMatchTerm(nn.Module):
    """Cosine distance 1 - cos(r_source, r_target) of every prompt row, in [0, 2] (eq. 5).

    Args:
        reference: [B, K], the source prompt's cosines to its model's anchors.
        mask: bool [B, K], the anchors that count for a row; the rest is zero on both sides (A.1).

    Raises:
        UsageError: reference and mask of different shapes.
    """

    reference: Tensor
    mask: Tensor

    def __init__(self, reference: Tensor, mask: Tensor) -> None:
        super().__init__()
        shapes = (tuple(reference.shape), tuple(mask.shape))
        require(shapes[0] == shapes[1], "reference and mask shapes", shapes, "the same [rows, anchors]")
        self.register_buffer("reference", normalize(reference * mask, dim=1))
        self.register_buffer("mask", mask)

    def forward(self, batch: RelativeBatch) -> Tensor:
        """[B] cosine distances. Raises UsageError where the batch has other rows or anchors."""
        shapes = (tuple(batch.encoding.shape), tuple(self.mask.shape))
        require(shapes[0] == shapes[1], "encoding shape", shapes[0], f"the source prompt has {shapes[1]}")
        return 1.0 - (self.reference * normalize(batch.encoding * self.mask, dim=1)).sum(1)


def matching_objective(
    references: Mapping[str, Tensor], mask: Tensor, weights: Mapping[str, float]
) -> MultiObjectiveLoss:
    """Eq. 7: one term per source, each with its weight."""
    terms = {name: RelativeMatchTerm(reference, mask) for name, reference in references.items()}
    return MultiObjectiveLoss(terms, weights)
