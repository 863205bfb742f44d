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

from fuse_repro.algebra.least_squares import refined, solve_gram

ROWS = 5  # of a prompt whose Gram matrices are made together
STRIP = 128  # columns of a Gram matrix that are made together
NO_SPREAD = 1e-12  # smallest to largest variance; a direction below has no anchors but rounding errors


@dataclass(frozen=True)
class AnchorSpace:
    """The anchors of one model, in a frame of their own.

    A vector v of the model is (v - centre) `inward` in the frame; u of the frame is u `outward` + centre.

    Attributes:
        directions: [K, d], the anchors in the frame, as unit vectors.
        centre: [d]; zero where the anchors are not centred, as in the paper.
        inward: [d, d], the whitening; None is no change, as in the paper.
        outward: [d, d], its inverse; None with `inward`.
        length: mean length of the anchors in the frame.
    """

    directions: Tensor
    centre: Tensor
    inward: Tensor | None
    outward: Tensor | None
    length: float

    def enter(self, vectors: Tensor) -> Tensor:
        """Vectors [m, d] of the model, in the frame."""
        offsets = vectors.to(self.centre) - self.centre
        return offsets if self.inward is None else offsets @ self.inward

    def leave(self, vectors: Tensor) -> Tensor:
        """Vectors [m, d] of the frame, as the model's offsets from the centre."""
        return vectors if self.outward is None else vectors @ self.outward

    def to(self, dtype: torch.dtype) -> AnchorSpace:
        """The same space in another precision."""
        inward = None if self.inward is None else self.inward.to(dtype)
        outward = None if self.outward is None else self.outward.to(dtype)
        return AnchorSpace(self.directions.to(dtype), self.centre.to(dtype), inward, outward, self.length)


def anchor_space(
    embeddings: Tensor, centre: bool, whiten: bool = False, dtype: torch.dtype = torch.float64
) -> AnchorSpace:
    """The space of anchors with these embeddings [K, d], on their mean or not, whitened or not.

    Whitened anchors spread alike in all directions. Cosines are then kept by every invertible linear change
    of the space, and not by rotations only. Directions in which no anchor lies are lost.

    Args:
        embeddings: [K, d].
        centre: whether to look at the anchors from their mean.
        whiten: whether to equalise their spread over all directions.
        dtype: of the space; it is computed in float64.
    """
    embeddings = embeddings.double()
    middle = embeddings.mean(0) if centre else embeddings.new_zeros(embeddings.shape[1])
    framed = embeddings - middle
    inward, outward = _whitening(framed) if whiten else (None, None)
    framed = framed if inward is None else framed @ inward
    length = float(framed.norm(dim=1).mean())
    return AnchorSpace(normalize(framed, dim=1), middle, inward, outward, length).to(dtype)


def _whitening(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """C^-1/2 and C^1/2, both [d, d], of the offsets' second moments C."""
    values, vectors = torch.linalg.eigh(offsets.T @ offsets / len(offsets))
    kept = values > NO_SPREAD * values.max()
    values, vectors = values[kept], vectors[:, kept]
    return (vectors * values**-0.5) @ vectors.T, (vectors * values**0.5) @ vectors.T


def encode(prompt: Tensor, space: AnchorSpace) -> Tensor:
    """Relative representation of [m, d]: the cosines to all anchors, [m, K] (eq. 3)."""
    return normalize(space.enter(prompt), dim=1) @ space.directions.T


def top_mask(scores: Tensor, k: int | None) -> Tensor:
    """Where the k highest scores of every row are: bool, shaped as `scores` [m, K] (A.1). A k of None keeps all."""
    if k is None or k >= scores.shape[1]:
        return torch.ones_like(scores, dtype=torch.bool)
    mask = torch.zeros_like(scores, dtype=torch.bool)
    return mask.scatter_(1, scores.topk(k, dim=1).indices, True)


def closed_form(relative: Tensor, mask: Tensor, space: AnchorSpace, ridges: Sequence[float]) -> list[Tensor]:
    """The unit directions [m, d], in the frame, whose masked cosines match `relative` [m, K] best, for every ridge.

    Rows are solved one by one, each with the Gram matrix of the anchors that its mask keeps; a ridge is
    relative to the mean diagonal of that matrix, and 0 is the pseudoinverse.

    Args:
        relative: the source prompt's cosines, [m, K].
        mask: bool [m, K], the anchors that count.
        space: the target's anchors.
        ridges: one solution for each.
    """
    right = (relative * mask) @ space.directions
    solved = right.new_empty(len(ridges), *right.shape)
    if mask.all():
        gram = space.directions.T @ space.directions
        for place, ridge in enumerate(ridges):
            solved[place] = solve_gram(gram, right.T, ridge).T.to(right)
        return [normalize(directions, dim=1) for directions in solved]
    for start in range(0, len(mask), ROWS):
        rows = slice(start, start + ROWS)
        _solve_masked(right[rows], mask[rows], space.directions, ridges, solved[:, rows])
    return [normalize(directions, dim=1) for directions in solved]


def _solve_masked(
    right: Tensor, mask: Tensor, directions: Tensor, ridges: Sequence[float], out: Tensor
) -> None:
    """(A^T A + ridge)^-1 right for a few rows, each with the anchors A that its mask keeps; written into `out`.

    The Gram matrices are nearly all of the work and are made in single precision. Iterative refinement brings
    the solutions to double precision. Where it does not converge, all is done in double.

    Args:
        right: [m, d].
        mask: bool [m, K].
        directions: [K, d], the anchors' unit vectors.
        ridges: one solution for each.
        out: [ridges, m, d].
    """
    kept = mask.any(0)
    if not kept.all():
        mask, directions = mask[:, kept], directions[kept]
    anchors = directions.double()
    counts = mask.sum(1, keepdim=True) / anchors.shape[1]  # a Gram matrix of unit rows has this mean diagonal
    quick = masked_grams(anchors.float(), mask)
    exact: Tensor | None = None
    for place, ridge in enumerate(ridges):

        def apply(vectors: Tensor, ridge: float = ridge) -> Tensor:
            return ((vectors @ anchors.T) * mask) @ anchors + ridge * counts * vectors

        solution = refined(quick, apply, right, ridge)
        if solution is None:
            exact = masked_grams(anchors, mask) if exact is None else exact
            pairs = zip(exact, right, strict=True)
            solution = torch.stack([solve_gram(gram, row, ridge) for gram, row in pairs])
        out[place] = solution.to(out)


def masked_grams(directions: Tensor, mask: Tensor) -> Tensor:
    """A^T A for the anchors A that each row of `mask` [m, K] keeps of `directions` [K, d]: [m, d, d].

    Masks overlap, so anchors are sorted by which rows keep them, and every such group is multiplied once
    for all of its rows. There are up to 2^m groups: for a few rows at a time.
    """
    rows, size = len(mask), directions.shape[1]
    bits = 2 ** torch.arange(rows, device=mask.device).unsqueeze(1)
    keepers = (mask * bits).sum(0)
    counts = torch.bincount(keepers, minlength=2**rows).tolist()
    groups = directions[keepers.argsort()[counts[0] :]].split(counts[1:])
    grams = directions.new_zeros(rows, size, size)
    for keeper, group in enumerate(groups, 1):
        if len(group) > 0:
            product = lower_product(group)
            for row in range(rows):
                if keeper >> row & 1:
                    grams[row] += product
    return grams.tril() + grams.tril(-1).mT


def lower_product(rows: Tensor) -> Tensor:
    """The lower triangle of A^T A, of A [n, d], strip by strip; what stands above it means nothing."""
    size = rows.shape[1]
    product = rows.new_zeros(size, size)
    for start in range(0, size, STRIP):
        product[start:, start : start + STRIP] = rows[:, start:].T @ rows[:, start : start + STRIP]
    return product


def rescale(prompt: Tensor, mean: float, std: float) -> Tensor:
    """Shift and scale all values of a prompt [m, d] to this mean and standard deviation (eq. 6)."""
    return (prompt - prompt.mean()) / prompt.std(correction=0) * std + mean
