"""Relative representations and the way back from them, in closed form (PTfer, sections 2.2 to 2.4).

Shapes: m prompt rows, K anchors, d embedding size. A vector's relative representation is its cosine to
every anchor (eq. 3). Looking for the vector v whose masked cosines point the same way as r (eq. 5), with A
the unit anchor rows that the mask keeps, is

    maximise over v   cos(r, A v / |v|)  =  r . A v / (|r| |A v|).

The length of v cancels, so fix r . A v and minimise |A v|: v is a multiple of (A^T A)^-1 A^T r, the
least-squares solution of A v = r. Several sources under one mask only replace r by the sum of their unit r's
(eq. 7). A ridge holds v back in directions that few anchors have, as stopping a gradient descent early does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fuse_repro.adapters.least_squares import solve_gram


@dataclass(frozen=True)
class AnchorSpace:
    """The anchors of one model, as seen from their centre.

    directions: [K, d], unit vectors from the centre to the anchors.
    centre: [d]; zero where the anchors are not centred, as in the paper.
    length: mean distance of the anchors from the centre.
    """

    directions: Tensor
    centre: Tensor
    length: float

    def to(self, dtype: torch.dtype) -> AnchorSpace:
        """The same space in another precision."""
        return AnchorSpace(self.directions.to(dtype), self.centre.to(dtype), self.length)


def anchor_space(embeddings: Tensor, centre: bool, dtype: torch.dtype = torch.float64) -> AnchorSpace:
    """The space of anchors with these embeddings [K, d], centred on their mean or not."""
    embeddings = embeddings.to(dtype)
    middle = embeddings.mean(0) if centre else embeddings.new_zeros(embeddings.shape[1])
    offsets = embeddings - middle
    lengths = offsets.norm(dim=1, keepdim=True)
    return AnchorSpace(normalize(offsets, dim=1), middle, float(lengths.mean()))


def encode(prompt: Tensor, space: AnchorSpace) -> Tensor:
    """Relative representation of [m, d]: the cosines to all anchors, [m, K] (eq. 3)."""
    return normalize(prompt.to(space.centre) - space.centre, dim=1) @ space.directions.T


def top_mask(scores: Tensor, k: int | None) -> Tensor:
    """Where the k highest scores of every row are: bool, shaped as `scores` [m, K] (A.1). None keeps all."""
    if k is None or k >= scores.shape[1]:
        return torch.ones_like(scores, dtype=torch.bool)
    mask = torch.zeros_like(scores, dtype=torch.bool)
    return mask.scatter_(1, scores.topk(k, dim=1).indices, True)


def closed_form(relative: Tensor, mask: Tensor, space: AnchorSpace, ridges: Sequence[float]) -> list[Tensor]:
    """The unit directions [m, d] whose masked cosines match `relative` [m, K] best, for every ridge.

    Rows are solved one by one, each with the Gram matrix of the anchors that its mask keeps; a ridge is
    relative to the mean diagonal of that matrix, and 0 is the pseudoinverse.
    """
    right = (relative * mask) @ space.directions
    solved = right.new_empty(len(ridges), *right.shape)
    shared = bool(mask.all())
    blocks = [slice(None)] if shared else [slice(row, row + 1) for row in range(len(mask))]
    for rows in blocks:
        anchors = space.directions if shared else space.directions[mask[rows][0]]
        gram = anchors.T @ anchors
        for place, ridge in enumerate(ridges):
            solved[place, rows] = solve_gram(gram, right[rows].T, ridge).T.to(right)
    return [normalize(directions, dim=1) for directions in solved]


def rescale(prompt: Tensor, mean: float, std: float) -> Tensor:
    """Shift and scale all values of a prompt [m, d] to this mean and standard deviation (eq. 6)."""
    return (prompt - prompt.mean()) / prompt.std(correction=0) * std + mean
