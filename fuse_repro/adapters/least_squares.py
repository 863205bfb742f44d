"""Normal equations, for maps that are fitted from anchors."""

import torch
from torch import Tensor

WELL_CONDITIONED = 1e-6  # smallest to largest pivot; below, a zero eigenvalue and a rounding error look alike


def solve_gram(gram: Tensor, right: Tensor, ridge: float = 0.0) -> Tensor:
    """(gram + ridge * its mean diagonal * I)^-1 right, in float64.

    gram: [d, d], symmetric and positive semidefinite; right: [d, n] or [d]. A singular one is solved by its
    pseudoinverse, which gives the shortest least-squares solution.
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
