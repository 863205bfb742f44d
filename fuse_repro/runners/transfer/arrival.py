"""How well words arrive that a map was not fitted on: what to expect of a prompt that it moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fuse_repro.adapters import EmbeddingMap, RelativePromptTransfer
from fuse_repro.adapters.anchors import shared_anchors
from fuse_repro.adapters.auto.held_out import takes_anchors
from fuse_repro.adapters.relative.calibration import arrival
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.build import Fit
from fuse_repro.runners.transfer.methods import fit_map

HELD, LEAST = 150, 20


@dataclass(frozen=True)
class Arrival:
    """What became of words that were moved as if they were prompts.

    Attributes:
        words: how many.
        recall: share of them whose own token is nearest to where they arrive, of all the shared words, in [0, 1].
        cosine: mean cosine to their own token, seen from the tokens' mean.
    """

    words: int
    recall: float
    cosine: float


@torch.no_grad()
def words_arrive(
    fit: Fit,
    sources: Sequence[FrozenModel],
    target: FrozenModel,
    words: Sequence[str],
    cache: Path | None,
    weights: Sequence[float],
    seed: int = 0,
) -> Arrival | None:
    """Fit the map without some of the words that the models share, and move these.

    Args:
        fit: of conf/adapter.
        sources: one model or more.
        target: where prompts go.
        words: that maps are fitted on.
        cache: where fits are kept; None keeps nothing.
        weights: of the sources' matches.
        seed: of which words are held out.

    Returns:
        None where the models share too few words to leave some out.
    """
    try:
        shared = shared_anchors([*sources, target])
    except UsageError:
        return None
    held_out = min(HELD, len(shared) // 4)
    if held_out < LEAST:
        return None
    kept, held = shared.hold_out(held_out, seed)
    left = set(held.words)
    own = {"given": kept} if takes_anchors(fit) else {}
    fitted = fit_map(fit, sources, target, [w for w in words if w not in left], cache, weights, **own)
    *told, wanted = held.embeddings([*sources, target])
    arrived = (
        fitted.transfer_all(told) if isinstance(fitted, RelativePromptTransfer) else _each(fitted, told[0])
    )
    others = kept.embeddings([*sources, target])[-1]
    recall, cosine = arrival(arrived.float(), wanted.float(), others.float())
    return Arrival(held_out, recall, cosine)


def _each(fitted: EmbeddingMap, vectors: torch.Tensor) -> torch.Tensor:
    """Every vector [n, d_s] moved as a prompt of one row: [n, d_t]."""
    return torch.cat([fitted.transfer(row[None]) for row in vectors])
