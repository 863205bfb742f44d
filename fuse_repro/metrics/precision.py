"""Precision@1 of a prompt: of one relation, and of several with the mean that both papers report.

Both are torchmetrics, so that they add up over batches and over processes. Their values are shares in
float64, exactly hits / items: records must not depend on who counts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from fuse_repro.errors import require

MACRO = "mean_over_relations"


class PrecisionAtOne(MulticlassAccuracy):
    """The share of items whose most probable candidate is the answer; of equals the earlier candidate is taken.

    `update` takes log-probabilities [N, A] of the A candidates and the places of the answers [N].

    Args:
        candidates: how many there are (A).
    """

    def __init__(self, candidates: int) -> None:
        # torchmetrics refuses a single class; a task may have a single candidate, which is then always found.
        super().__init__(num_classes=max(2, candidates), top_k=1, average="micro", validate_args=False)

    @property
    def counts(self) -> Tensor:
        """Hits and items so far: [2], whole numbers."""
        hits, _, _, missed = (state.sum() for state in self._final_state())
        return torch.stack([hits, hits + missed])

    def compute(self) -> Tensor:
        """The share [] in float64.

        Raises:
            UsageError: no item was counted yet.
        """
        hits, items = self.counts.cpu()
        require(int(items) > 0, "items", int(items), "at least one")
        return hits.double() / items


class RelationPrecision(Metric):
    """Precision@1 of every relation and its mean over relations, each counting once (a macro average).

    The transfer paper calls this mean "micro-average accuracy".

    Args:
        relations: their names, each once; the same ones in the same order in every process.

    Raises:
        UsageError: no names, or one twice.
    """

    full_state_update = False  # counts of batches add up
    counts: Tensor  # [relations, 2]: hits and items

    def __init__(self, relations: Sequence[str]) -> None:
        super().__init__()
        self.relations = list(relations)
        allowed = f"at least one name, each once, none of them {MACRO}"
        once = 0 < len(self.relations) == len({*self.relations} - {MACRO})
        require(once, "relations", self.relations, allowed)
        self.add_state("counts", torch.zeros(len(self.relations), 2, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, relation: str, log_probs: Tensor, gold: Tensor) -> None:
        """Count items of one relation.

        Args:
            relation: one of `relations`.
            log_probs: [N, A], of the relation's own A candidates.
            gold: [N], the places of the answers among them.

        Raises:
            UsageError: a relation that is not among `relations`.
        """
        require(relation in self.relations, "relation", relation, f"one of {', '.join(self.relations)}")
        counted = PrecisionAtOne(log_probs.shape[1]).to(log_probs.device)
        counted.update(log_probs, gold)
        self.counts[self.relations.index(relation)] += counted.counts.to(self.counts.device)

    def compute(self) -> dict[str, Tensor]:
        """Relation -> share [] in float64, and `mean_over_relations`; relations without an item are left out.

        Raises:
            UsageError: before any item was counted.
        """
        hits, items = self.counts.cpu().unbind(1)
        asked = items > 0
        require(bool(asked.any()), "items", 0, "at least one")
        shares = hits[asked].double() / items[asked]
        names = [name for name, known in zip(self.relations, asked.tolist(), strict=True) if known]
        return dict(zip(names, shares, strict=True)) | {MACRO: shares.mean()}
