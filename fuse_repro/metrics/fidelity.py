"""How well predicted changes of an objective rank candidates by the true ones; lower objectives are better."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef
from torchmetrics.functional.retrieval import retrieval_recall

from fuse_repro.errors import UsageError

BEST_SHARE = 0.01  # which share of the candidates counts as the true best


def spearman(predicted: Tensor, true: Tensor) -> float:
    """Rank correlation in [-1, 1] of two [n], ties sharing their mean rank; 0 where either has no spread.

    It is Pearson's correlation of the ranks. torchmetrics' own `spearman_corrcoef` adds the ranks of equal
    values in 32 bits, which overflow for a vocabulary of 262,144 tokens: -0.28 in place of 0.64 where half of
    them tie.
    """
    ranks = [_mean_ranks(values) for values in (predicted, true)]
    if any(len(own) < 2 or bool((own == own[0]).all()) for own in ranks):
        return 0.0
    return float(pearson_corrcoef(*ranks))


def _mean_ranks(values: Tensor) -> Tensor:
    """Ranks from 1 on of [n], equal values sharing their mean rank: [n], float64."""
    _, which, counts = torch.unique(values, return_inverse=True, return_counts=True)
    counts = counts.double()
    return (counts.cumsum(0) - (counts - 1) / 2)[which]


def top_k(values: Tensor, k: int) -> Tensor:
    """Places of the k lowest of [n]; of equals the first."""
    return torch.argsort(values, stable=True)[:k]


def recall_at(predicted: Tensor, true: Tensor, k: int, share: float = BEST_SHARE) -> float:
    """The share of the truly best candidates that is among the k predicted best, of equals the first.

    Args:
        predicted: [n].
        true: [n].
        k: how many predicted best count.
        share: which share of all candidates is truly best.
    """
    relevant = torch.zeros(len(true), dtype=torch.bool, device=true.device)
    relevant[top_k(true, max(1, round(share * len(true))))] = True
    order = torch.argsort(predicted, stable=True)
    places = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return float(retrieval_recall((len(order) - places).double(), relevant, top_k=k))


def regret_at(predicted: Tensor, true: Tensor, k: int) -> float:
    """Best true value among the k predicted best minus the best of all, in standard deviations of the true values."""
    spread = float(true.double().std())
    gap = float(true[top_k(predicted, k)].min() - true.min())
    return gap / spread if spread > 0 else 0.0


def sample_k(k: int, sample: int, pool: int) -> int:
    """The predicted best k of `pool` candidates, seen through a random sample of them.

    Args:
        k: how many of the pool.
        sample: candidates in the sample.
        pool: candidates in all.

    Raises:
        UsageError: a sample that is too small to hold any of the k.
    """
    scaled = k * sample / pool
    if scaled < 0.5:
        raise UsageError(
            f"runner.candidates={sample} of {pool} tokens are too few to tell the best {k}: "
            f"take at least {ceil(pool / k / 2)}, or drop k={k} from runner.ks"
        )
    return max(1, round(scaled))


def fidelity(predicted: Tensor, true: Tensor, ks: Sequence[int], pool: int) -> dict[str, Any]:
    """Spearman correlation, recall and regret of one prompt's candidates.

    Args:
        predicted: [n], of a sample of n candidates.
        true: [n], of the same candidates.
        ks: sizes of the predicted best, counted in the pool.
        pool: how many candidates the sample was drawn from.

    Raises:
        UsageError: values that are not finite, or a sample too small for one of the ks.
    """
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
