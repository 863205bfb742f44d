"""All candidates are scored in bfloat16, the best of them again in float32: what is kept and reported is exact."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from fuse_repro.errors import require
from fuse_repro.models.precision import full_precision, low_precision
from fuse_repro.objectives import LossValues, MultiObjectiveLoss, PromptBatch


@dataclass(frozen=True)
class Screen:
    """How many candidates are computed again.

    Attributes:
        count: of so many `candidates`.
        candidates: of a prompt.
        kept: of the candidates survive a step.

    Raises:
        UsageError: a count below `kept` or above `candidates`.
    """

    count: int
    candidates: int
    kept: int

    def __post_init__(self) -> None:
        whole = isinstance(self.count, int) and not isinstance(self.count, bool)
        allowed = (
            f"null, or a whole number from optimizer.beam={self.kept} to optimizer.candidates={self.candidates}; "
            "of every prompt's candidates so many are scored again in float32"
        )
        good = whole and self.kept <= self.count <= self.candidates
        require(good, "optimizer.screen", self.count, allowed)

    def room(self, members: int) -> int:
        """How many of a group of candidates are computed again: its share, rounded up, and `kept` at the least."""
        return max(self.kept, -(-self.count * members // self.candidates))


def screened(
    objective: MultiObjectiveLoss,
    batch: PromptBatch,
    groups: Sequence[bool],
    screen: Screen,
    device: torch.device,
) -> tuple[list[int], LossValues]:
    """The promising candidates of a batch, and their objective in float32.

    Each group keeps its own best ones. Where all are promising, they stay in the order of the batch, so that their
    values are those of a search without screening, bit for bit.

    Args:
        objective: what is minimised.
        batch: B candidates.
        groups: [B], the one of two groups that each candidate belongs to.
        screen: how many are promising.
        device: where the models are.

    Returns:
        The places of the n promising candidates in the batch, in order, and their values [n].
    """
    with low_precision(device):
        rough = objective(batch).total.tolist()
    places = promising(rough, groups, screen)
    with full_precision(device):
        # Not `objective(...)`: its hooks have counted these prompts already. What models compute is counted anew.
        return places, objective.forward(_at(batch, places))


def promising(values: Sequence[float], groups: Sequence[bool], screen: Screen) -> list[int]:
    """The places of the lowest values of either group, in order."""
    chosen: list[int] = []
    for group in (False, True):
        members = [place for place, own in enumerate(groups) if own == group]
        chosen += sorted(members, key=values.__getitem__)[: screen.room(len(members))]
    return sorted(chosen)


def _at(batch: PromptBatch, places: Sequence[int]) -> PromptBatch:
    """The candidates at these places."""
    texts = [batch.texts[place] for place in places]
    if batch.nll is None or batch.scored is None:
        return replace(batch, texts=texts)
    rows = torch.tensor(places, dtype=torch.long, device=batch.nll.device)
    return replace(batch, texts=texts, nll=batch.nll[rows], scored=batch.scored[rows])
