"""Normal equations, for maps that are fitted from anchors."""

from collections.abc import Callable

import torch
from torch import Tensor

WELL_CONDITIONED = 1e-6  # smallest to largest pivot; below, a zero eigenvalue and a rounding error look alike
WELL_ROUNDED = 3e-3  # the same for a matrix rounded to single precision
REFINEMENTS = 8
PRECISE = 1e-13  # residual to right-hand side, after a last correction as good as the one before


def solve_gram(gram: Tensor, right: Tensor, ridge: float = 0.0) -> Tensor:
    """(gram + ridge * its mean diagonal * I)^-1 right, in float64.

    A singular matrix is solved by its pseudoinverse, which gives the shortest least-squares solution.

    Args:
        gram: [d, d], symmetric and positive semidefinite.
        right: [d, n] or [d].
        ridge: relative to the mean diagonal of `gram`.

    Returns:
        Shaped as `right`.
    """
    gram, right = gram.double(), right.double()
    if ridge > 0:
        gram = gram + ridge * gram.diagonal().mean() * torch.eye(
            len(gram), dtype=gram.dtype, device=gram.device
        )
    columns = right if right.ndim == 2 else right.unsqueeze(1)
    factor, failed = torch.linalg.cholesky_ex(gram)
    pivots = factor.diagonal()
    if int(failed) == 0 and float(pivots.min()) > WELL_CONDITIONED * float(pivots.max()):
        solved = torch.cholesky_solve(columns, factor)
    else:
        solved = torch.linalg.pinv(gram, hermitian=True) @ columns
    return solved.reshape(right.shape)


def refined(
    grams: Tensor, apply: Callable[[Tensor], Tensor], right: Tensor, ridge: float = 0.0
) -> Tensor | None:
    """Solutions [m, d], in float64, of m systems whose matrices are known in single precision; None if it fails.

    Iterative refinement: the factors of the rounded matrices solve, in single precision, for the residuals of
    the true matrices.

    Args:
        grams: [m, d, d], float32, as in `solve_gram`.
        apply: the true matrices, ridge included, times vectors [m, d], in float64.
        right: [m, d].
        ridge: relative to the mean diagonal, as in `solve_gram`.
    """
    right = right.double()
    lift = ridge * grams.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    factors, failed = torch.linalg.cholesky_ex(
        grams + lift * torch.eye(grams.shape[-1], dtype=grams.dtype, device=grams.device)
    )
    pivots = factors.diagonal(dim1=1, dim2=2)
    if bool(failed.any()) or float((pivots.amin(1) / pivots.amax(1)).min()) < WELL_ROUNDED:
        return None

    def correction(residual: Tensor) -> Tensor:
        return torch.cholesky_solve(residual.unsqueeze(-1).to(factors), factors).squeeze(-1).double()

    solution, residual = correction(right), right
    for _ in range(REFINEMENTS):
        before, residual = residual.norm(), right - apply(solution)
        gain = float(residual.norm() / before)
        if not gain < 0.5:
            return None
        solution = solution + correction(residual)
        if gain * float(residual.norm()) <= PRECISE * float(right.norm()):
            return solution
    return None
