"""How well predicted changes of an objective rank candidates by the true ones; lower objectives are better."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional import spearman_corrcoef

from fuse_repro.errors import UsageError

BEST_SHARE = 0.01  # which share of the candidates counts as the true best


def spearman(predicted: Tensor, true: Tensor) -> float:
    """Rank correlation in [-1, 1] of two [n], ties sharing their mean rank; 0 where either has no spread."""
    if len(true) < 2 or float(predicted.std()) == 0 or float(true.std()) == 0:
        return 0.0
    return float(spearman_corrcoef(predicted.double(), true.double()))


def top_k(values: Tensor, k: int) -> Tensor:
    """Places of the k lowest of [n]; of equals the first."""
    return torch.argsort(values, stable=True)[:k]


def recall_at(predicted: Tensor, true: Tensor, k: int, share: float = BEST_SHARE) -> float:
    """Which share of the truly best candidates is among the k predicted best. [n], [n]."""
    best = top_k(true, max(1, round(share * len(true))))
    return float(torch.isin(best, top_k(predicted, k)).double().mean())


def regret_at(predicted: Tensor, true: Tensor, k: int) -> float:
    """Best true value among the k predicted best minus the best of all, in standard deviations of the true values."""
    spread = float(true.double().std())
    gap = float(true[top_k(predicted, k)].min() - true.min())
    return gap / spread if spread > 0 else 0.0


def sample_k(k: int, sample: int, pool: int) -> int:
    """The predicted best k of `pool` candidates, seen through a random sample of them.

    Raises UsageError where the sample is too small to hold any.
    """
    scaled = k * sample / pool
    if scaled < 0.5:
        raise UsageError(
            f"runner.candidates={sample} of {pool} tokens are too few to tell the best {k}: "
            f"take at least {ceil(pool / k / 2)}, or drop k={k} from runner.ks"
        )
    return max(1, round(scaled))


def fidelity(predicted: Tensor, true: Tensor, ks: Sequence[int], pool: int) -> dict[str, Any]:
    """spearman, recall and regret of one prompt's candidates [n], a sample of `pool`; ks are of the pool."""
    if not bool(torch.isfinite(predicted).all() and torch.isfinite(true).all()):
        raise UsageError("predicted or true objectives are not finite: check the models and their dtype")
    sizes = {k: sample_k(k, len(true), pool) for k in ks}
    return {
        "spearman": spearman(predicted, true),
        "recall": {str(k): recall_at(predicted, true, size) for k, size in sizes.items()},
        "regret": {str(k): regret_at(predicted, true, size) for k, size in sizes.items()},
    }


def flat(measured: Mapping[str, Any]) -> dict[str, float]:
    """What `fidelity` gave, with one name for each number: spearman, recall@512, regret@512."""
    numbers = {"spearman": measured["spearman"]}
    for name in ("recall", "regret"):
        numbers |= {f"{name}@{k}": value for k, value in measured[name].items()}
    return numbers
