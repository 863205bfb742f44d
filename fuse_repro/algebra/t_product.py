"""The t-algebra: tensors that multiply like matrices (Kilmer & Martin 2011; FUSE section 3.1, appendix A).

A tensor `[m, k, p1, ..., pn]` is an m x k matrix whose entries are real arrays of shape `p1 x ... x pn`,
its *depths*, multiplied by circular convolution. An index along every depth picks a *face* `[m, k]`; a
matrix (n = 0) has one face. In the Fourier domain of the depths the t-product is a matrix product per face.

The faces of a real tensor at opposite frequencies are each other's conjugates, so one of each pair is
enough, and the faces that are their own opposite (zero frequency, Nyquist) are real. With R real and
C complex faces R + 2C = p1 ... pn =: P, so the transform is one real, invertible P x P matrix. Depths are
token counts, hence small, and that matrix product is quicker than Fourier transforms of length 2 to 30.

Any device and real floating dtype; half precision is computed in float32. All functions are differentiable.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from fuse_repro.errors import UsageError, require

Depths = tuple[int, ...]


class _Faces(NamedTuple):
    """One face of every conjugate pair of a tensor `[m, k, *depths]` in the Fourier domain.

    Attributes:
        real: `[R, m, k]`, the faces that are their own opposite.
        complex: `[C, m, k]`, one face of every other pair.
    """

    real: Tensor  # [R, m, k]
    complex: Tensor  # [C, m, k]

    def apply(self, function: Callable[..., Tensor], *others: "_Faces") -> "_Faces":
        """`function` on the real faces of self and `others`, and on the complex ones."""
        return _Faces(
            function(self.real, *(other.real for other in others)),
            function(self.complex, *(other.complex for other in others)),
        )


@lru_cache(maxsize=256)
def _fourier(depths: Depths, dtype: torch.dtype, device: torch.device) -> tuple[int, Tensor, Tensor]:
    """R, the `[P, P]` transform (flat depths -> R real, C real and C imaginary parts), and its inverse."""
    # The cached matrices must be usable under autograd wherever the first call came from.
    with torch.inference_mode(False), torch.no_grad():
        shape = (*depths, 1)
        size = math.prod(shape)
        index = torch.arange(size)
        opposite = _reverse(index.reshape(shape), first=0).flatten()
        own, pairs = index[index == opposite], index[index < opposite]
        impulses = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
        spectrum = torch.fft.fftn(impulses, dim=tuple(range(1, len(shape) + 1))).reshape(size, size)
        forward = torch.cat((spectrum[:, own].real, spectrum[:, pairs].real, spectrum[:, pairs].imag), dim=1)
        weight = torch.cat((torch.ones(len(own)), torch.full((2 * len(pairs),), 2.0))).to(torch.float64)
        inverse = (weight / size)[:, None] * forward.T
        return len(own), forward.to(device, dtype), inverse.to(device, dtype)


def _to_faces(a: Tensor) -> _Faces:
    rows, columns, *depths = a.shape
    a = a.to(_working_dtype(a.dtype))
    count, forward, _ = _fourier(tuple(depths), a.dtype, a.device)
    size = len(forward)
    flat = a.reshape(rows * columns, size)
    faces = (forward.T @ flat.T if size > 1 else flat).reshape(size, rows, columns)
    pairs = (size - count) // 2
    return _Faces(faces[:count], torch.complex(faces[count : count + pairs], faces[count + pairs :]))


def _from_faces(faces: _Faces, depths: Depths, dtype: torch.dtype) -> Tensor:
    rows, columns = faces.real.shape[1:]
    _, _, inverse = _fourier(depths, faces.real.dtype, faces.real.device)
    parts = torch.cat((faces.real, faces.complex.real, faces.complex.imag))
    flat = parts.reshape(len(inverse), rows * columns)
    return (flat.T @ inverse).reshape(rows, columns, *depths).to(dtype)


def _working_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _reverse(a: Tensor, first: int = 2) -> Tensor:
    """Index i -> -i (mod p) along every dimension from `first` on: keeps entry 0, reverses the others."""
    dims = tuple(range(first, a.ndim))
    return a.flip(dims).roll((1,) * len(dims), dims) if dims else a


def _check(a: Tensor, name: str) -> None:
    valid = a.ndim >= 2 and 0 not in a.shape[2:]
    require(valid, f"{name}.shape", tuple(a.shape), "[m, k, p1, ..., pn] with every p at least 1")
    require(a.is_floating_point(), f"{name}.dtype", a.dtype, "a real floating dtype; convert with .float()")


def _check_pair(a: Tensor, b: Tensor) -> None:
    _check(a, "a")
    _check(b, "b")
    require(b.dtype == a.dtype, "b.dtype", b.dtype, f"must equal a.dtype={a.dtype}; convert one of them")
    require(b.device == a.device, "b.device", b.device, f"must equal a.device={a.device}; move one of them")
    allowed = f"needs {a.shape[1]} rows, as many as a has columns ({tuple(a.shape)})"
    require(b.shape[0] == a.shape[1], "b.shape", tuple(b.shape), allowed)


def t_product(a: Tensor, b: Tensor) -> Tensor:
    """The t-product `a * b` of tensors with equal depths (Kilmer & Martin 2011, definition 4.1).

    Face k of the result is `sum_j a_j @ b_(k-j mod p)`, likewise in every depth. Associative and bilinear.

    Args:
        a: `[m, k, *depths]`.
        b: `[k, n, *depths]`, same dtype and device.

    Returns:
        `[m, n, *depths]`.

    Raises:
        UsageError: shapes, dtypes or devices that do not fit.
    """
    _check_pair(a, b)
    depths = tuple(a.shape[2:])
    allowed = f"must equal the depths of a, {depths}; t_product_generalised takes unequal ones"
    require(tuple(b.shape[2:]) == depths, "depths of b", tuple(b.shape[2:]), allowed)
    return _from_faces(_to_faces(a).apply(torch.matmul, _to_faces(b)), depths, a.dtype)


def t_product_generalised(a: Tensor, b: Tensor) -> Tensor:
    """The t-product for unequal depths: `a` convolved across `b` with circular padding (FUSE appendix A).

    Face k of the result is `sum_j a_j @ b_(k-j mod q)`, where j runs over the faces of `a` and q is the
    depth of `b`, so the result has the depths of `b`. Equals `t_product` for equal depths. Bilinear, but NOT
    associative, whatever the paper says: `(a * b) * c` wraps at the depth of `b`, `a * (b * c)` does not.

    Args:
        a: `[m, k, p1, ..., pn]`.
        b: `[k, n, q1, ..., qn]`, of the same order, dtype and device.

    Returns:
        `[m, n, q1, ..., qn]`.

    Raises:
        UsageError: shapes, dtypes or devices that do not fit.
    """
    _check_pair(a, b)
    require(b.ndim == a.ndim, "b.ndim", b.ndim, f"must equal a.ndim={a.ndim}; append depths of size 1")
    for dim in range(2, a.ndim):
        # Padding b circularly is the same as winding a once around b's depth.
        places = torch.arange(a.shape[dim], device=a.device) % b.shape[dim]
        shape = (*a.shape[:dim], b.shape[dim], *a.shape[dim + 1 :])
        a = a.new_zeros(shape).index_add(dim, places, a)
    return t_product(a, b)


def t_transpose(a: Tensor) -> Tensor:
    """The t-transpose `[m, k, *depths] -> [k, m, *depths]` (Kilmer & Martin 2011, definition 3.14).

    Transposes every face and reverses faces 2..p along every depth, so that `(a * b)^T = b^T * a^T` and the
    vector-Jacobian product of `e -> e * t` is `g -> g * t^T`. A plain permute is neither, from depth 3 on.

    Raises:
        UsageError: not a real tensor `[m, k, ...]`.
    """
    _check(a, "a")
    return _reverse(a.transpose(0, 1))


def t_identity(
    k: int, depths: Sequence[int], dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """The neutral element `[k, k, *depths]` of the t-product: the identity in the first face, zeros behind.

    Raises:
        UsageError: a size below 1.
    """
    shape = _sizes("k", k, "depths", *depths)
    identity = torch.zeros(k, k, *shape[1:], 1, dtype=dtype, device=device)
    identity.flatten(2)[..., 0] = torch.eye(k, dtype=dtype, device=device)
    return identity.squeeze(-1)


def t_pinv(a: Tensor, rcond: float | None = None) -> Tensor:
    """The Moore-Penrose pseudoinverse under the t-product (Jin et al. 2017).

    Args:
        a: `[m, k, *depths]`, not empty.
        rcond: singular values up to this share of the largest one of ALL Fourier faces count as zero;
            default `max(m, k) * P * eps`. One cut for all faces makes it the pseudoinverse of the block-
            circulant matrix; a cut per face would invert the rounding noise of a face that vanishes.

    Returns:
        `[k, m, *depths]`.

    Raises:
        UsageError: not a real, finite, non-empty tensor, or `rcond` outside [0, 1).
    """
    _check(a, "a")
    require(a.numel() > 0, "a.shape", tuple(a.shape), "must not be empty")
    _check_finite(a, "a")
    if rcond is None:
        rcond = max(a.shape[:2]) * math.prod(a.shape[2:]) * torch.finfo(_working_dtype(a.dtype)).eps
    require(0 <= rcond < 1, "rcond", rcond, "a share of the largest singular value, in [0, 1)")
    faces = _to_faces(a)
    real, pairs = (torch.linalg.svd(face, full_matrices=False) for face in faces)
    cut = rcond * torch.cat((real.S.flatten(), pairs.S.flatten())).max()
    left, right = _Faces(real.U, pairs.U), _Faces(real.Vh, pairs.Vh)
    scale = _Faces(_inverse_above(real.S, cut), _inverse_above(pairs.S, cut))
    inverse = right.apply(lambda vh, s, u: vh.mH @ (s[..., None] * u.mH), scale, left)
    return _from_faces(inverse, tuple(a.shape[2:]), a.dtype)


def _inverse_above(values: Tensor, cut: Tensor) -> Tensor:
    """1 / value where the value exceeds `cut`, else 0."""
    kept = values > cut
    return torch.where(kept, 1.0 / torch.where(kept, values, 1.0), 0.0)


def _check_finite(a: Tensor, name: str) -> None:
    if not bool(a.isfinite().all()):
        raise UsageError(
            f"{name} holds NaN or infinite values: all must be finite; check where it comes from"
        )


def _sizes(first: str, size: int, rest: str, *sizes: int) -> tuple[int, ...]:
    require(size >= 1, first, size, "at least 1")
    require(all(other >= 1 for other in sizes), rest, tuple(sizes), "every size at least 1")
    return (size, *sizes)


class TLeastSquares:
    """Streamed `argmin_M |V * M - W|^2 + ridge |M|^2` over rows that arrive in blocks.

    Holds the normal equations `V^H V` and `V^H W` of every Fourier face: memory O(d_i (d_i + d_j) P),
    whatever the number of rows. `ridge=0` gives `V^+ * W` of FUSE section 3.3, the solution of least norm;
    the paper prints `V^+ = V^T (V V^T)^-1`, which is singular for more rows than columns.

    The normal equations square the condition number: float64, the default, resolves singular values of V
    down to about 1e-7 of the largest, float32 only down to about 1e-2; use float32 with a ridge.

    Args:
        rows_in: d_i, columns of V, rows of M.
        rows_out: d_j, columns of W and M.
        depths: the depths p1, ..., pn of V, W and M; `()` for plain matrices.
        ridge: >= 0, in squared units of V's entries.
        dtype: of the sums and the solution, float32 or float64; blocks are converted to it.
        device: of the sums; blocks are moved there.
        rcond: for `ridge=0`: eigenvalues of `V^H V` up to this share of the largest one of all faces count
            as zero; default `d_i * eps`.

    Raises:
        UsageError: a size below 1, `ridge < 0`, another dtype, `rcond` outside [0, 1).
    """

    def __init__(
        self,
        rows_in: int,
        rows_out: int,
        depths: Sequence[int],
        ridge: float = 0.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        rcond: float | None = None,
    ) -> None:
        self.depths: Depths = _sizes("rows_in", rows_in, "rows_out and depths", rows_out, *depths)[2:]
        require(dtype in (torch.float32, torch.float64), "dtype", dtype, "torch.float32 or torch.float64")
        require(0 <= ridge < math.inf, "ridge", ridge, "a finite number >= 0")
        rcond = rows_in * torch.finfo(dtype).eps if rcond is None else rcond
        require(0 <= rcond < 1, "rcond", rcond, "a share of the largest eigenvalue, in [0, 1)")
        self.rows_in, self.rows_out, self.ridge, self.rcond = rows_in, rows_out, ridge, rcond
        self.rows = 0
        self._gram = _to_faces(torch.zeros(rows_in, rows_in, *self.depths, dtype=dtype, device=device))
        self._cross = _to_faces(torch.zeros(rows_in, rows_out, *self.depths, dtype=dtype, device=device))

    def update(self, v_block: Tensor, w_block: Tensor) -> None:
        """Add the rows `v_block` `[b, d_i, *depths]` and `w_block` `[b, d_j, *depths]`.

        Raises:
            UsageError: shapes that do not fit, or not real floating tensors.
        """
        for name, block, width in (("v_block", v_block, self.rows_in), ("w_block", w_block, self.rows_out)):
            shape = (len(v_block), width, *self.depths)
            require(tuple(block.shape) == shape, f"{name}.shape", tuple(block.shape), f"must be {shape}")
            require(block.is_floating_point(), f"{name}.dtype", block.dtype, "a real floating dtype")
        if not len(v_block):
            return
        with torch.no_grad():
            v, w = (_to_faces(block.to(self._gram.real)) for block in (v_block, w_block))
            self._gram.apply(lambda total, v: total.baddbmm_(v.mH, v), v)
            self._cross.apply(lambda total, v, w: total.baddbmm_(v.mH, w), v, w)
        self.rows += len(v_block)

    def solve(self) -> Tensor:
        """The minimiser M over all rows so far, `[d_i, d_j, *depths]`; more rows may follow.

        Raises:
            UsageError: no rows yet, rows that were not finite, or a ridge too small to be solved with.
        """
        require(self.rows > 0, "rows", self.rows, "at least one row must be given to update() before solve()")
        for total in (*self._gram, *self._cross):
            _check_finite(total, "the rows given to update()")
        solved = self._solve_ridge() if self.ridge else self._solve_pinv()
        return _from_faces(solved, self.depths, self._gram.real.dtype)

    def _solve_pinv(self) -> _Faces:
        real, pairs = (torch.linalg.eigh(gram) for gram in self._gram)
        cut = self.rcond * torch.cat((real[0].flatten(), pairs[0].flatten())).max()
        scale = _Faces(_inverse_above(real[0], cut), _inverse_above(pairs[0], cut))
        vectors = _Faces(real[1], pairs[1])
        return self._cross.apply(lambda w, s, u: u @ (s[..., None] * (u.mH @ w)), scale, vectors)

    def _solve_ridge(self) -> _Faces:
        def solve(gram: Tensor, cross: Tensor) -> Tensor:
            shifted = gram + self.ridge * torch.eye(self.rows_in, dtype=gram.dtype, device=gram.device)
            factor, failed = torch.linalg.cholesky_ex(shifted)
            if bool(failed.any()):
                raise UsageError(
                    f"ridge={self.ridge} is too small for {self.rows} rows in {gram.real.dtype}: "
                    "raise it, use float64, or use ridge=0 for the pseudoinverse"
                )
            return torch.cholesky_solve(cross, factor)

        return self._gram.apply(solve, self._cross)
