"""Orthogonal matching pursuit: vectors as sums of few of many given ones (Pati et al. 1993)."""

import torch
from torch import Tensor

SETTLED = 1e-5  # of a row's length: what is left of it is rounding
SWEEPS = 2000
STILL = 1e-12  # of a weight, between two sweeps


def matching_pursuit(
    rows: Tensor, directions: Tensor, atoms: int, non_negative: bool = False
) -> tuple[Tensor, Tensor]:
    """Which of K unit vectors make up each row, and with which weights.

    One after another, the direction is taken that points most nearly where the rest of the row points, and
    the weights of all that were taken are solved for anew by least squares. A row of which nothing is left
    takes no more; its further weights are zero.

    Args:
        rows: [m, d].
        directions: [K, d], unit vectors or zero; zero ones are never of use. May be of lower precision.
        atoms: how many are taken, at most K.
        non_negative: only directions that point towards the rest are taken, and no weight is below zero.

    Returns:
        Places [m, atoms] in `directions`, each once in a row, and weights [m, atoms] in float64.
    """
    wanted = rows.double()
    lengths = wanted.norm(dim=1, keepdim=True)
    count = min(atoms, len(directions))
    places = torch.zeros(len(rows), 0, dtype=torch.long, device=rows.device)
    weights = wanted.new_zeros(len(rows), 0)
    used = torch.zeros(len(rows), 0, dtype=torch.bool, device=rows.device)
    rest = wanted
    for _ in range(count):
        scores = rest.to(directions) @ directions.T
        scores = scores if non_negative else scores.abs()
        best = scores.scatter(1, places, float("-inf")).max(1, keepdim=True)
        useful = (rest.norm(dim=1, keepdim=True) > SETTLED * lengths) & (best.values > 0)
        places, used = torch.cat([places, best.indices], 1), torch.cat([used, useful], 1)
        taken = directions[places].double() * used.unsqueeze(2)
        weights = fitting_weights(taken, wanted, non_negative)
        rest = wanted - (weights.unsqueeze(1) @ taken).squeeze(1)
    return places, weights


def fitting_weights(taken: Tensor, wanted: Tensor, non_negative: bool) -> Tensor:
    """The least-squares weights [m, n] of vectors [m, n, d] for rows [m, d]; zero vectors get zero."""
    grams = taken @ taken.mT
    right = (taken @ wanted.unsqueeze(2)).squeeze(2)
    free = (torch.linalg.pinv(grams, hermitian=True) @ right.unsqueeze(2)).squeeze(2)
    if not non_negative or bool((free >= 0).all()):
        return free
    return _descend(grams, right, free.clamp(min=0))


def _descend(grams: Tensor, right: Tensor, weights: Tensor) -> Tensor:
    """Non-negative least squares by coordinate descent: every weight in turn, until none moves any more."""
    scales = grams.diagonal(dim1=1, dim2=2)
    for _ in range(SWEEPS):
        before = weights.clone()
        for place in range(weights.shape[1]):
            slope = right[:, place] - (grams[:, place] * weights).sum(1)
            step = torch.where(scales[:, place] > 0, slope / scales[:, place].clamp(min=STILL), 0.0)
            weights[:, place] = (weights[:, place] + step).clamp(min=0)
        if bool(((weights - before).abs() <= STILL * weights.abs().amax()).all()):
            break
    return weights
