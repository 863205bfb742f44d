"""The t-algebra against hand-worked values, block-circulant matrices, identities and autograd."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from fuse_repro.algebra.t_product import (
    TLeastSquares,
    t_identity,
    t_pinv,
    t_product,
    t_product_generalised,
    t_transpose,
)
from fuse_repro.errors import UsageError

DEPTHS = [(), (1,), (2,), (3,), (4,), (7,), (2, 2), (3, 2), (4, 3), (1, 3), (2, 3, 2)]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def bcirc(a: Tensor) -> Tensor:
    """`[m, k, *depths]` -> the (multi-level) block-circulant matrix `[m P, k P]`, by its definition."""
    rows, columns, *depths = a.shape
    places = list(itertools.product(*(range(depth) for depth in depths)))
    blocks = [
        torch.cat(
            [
                a[(..., *((i - j) % p for i, j, p in zip(row, column, depths, strict=True)))]
                for column in places
            ],
            dim=1,
        )
        for row in places
    ]
    return torch.cat(blocks).reshape(rows * len(places), columns * len(places))


def unfold(a: Tensor) -> Tensor:
    """The faces below each other: `[m, k, *depths]` -> `[P m, k]`."""
    return a.flatten(2).movedim(-1, 0).reshape(-1, a.shape[1]) if a.ndim > 2 else a


def fold(matrix: Tensor, depths: tuple[int, ...]) -> Tensor:
    """The inverse of `unfold`."""
    size = math.prod(depths)
    faces = matrix.reshape(size, -1, matrix.shape[1])
    return faces.movedim(0, -1).reshape(*faces.shape[1:], *depths)


def faces(a: Tensor, depths: tuple[int, ...]) -> Tensor:
    """A tensor from a block-circulant matrix: the first block column, folded."""
    return fold(a[:, : a.shape[1] // math.prod(depths)], depths)


def error(a: Tensor, b: Tensor) -> float:
    """The relative error |a - b| / |b|."""
    return float((a - b).norm() / b.norm())


def permute(a: Tensor) -> Tensor:
    """The wrong transpose: faces transposed, but not reversed."""
    return a.transpose(0, 1)


# --- products ---


def test_product_worked_by_hand() -> None:
    a = torch.tensor([[[1.0, 2.0, 3.0]]])  # 1 x 1: circular convolution
    b = torch.tensor([[[4.0, 5.0, 6.0]]])
    # face 0: 1*4 + 2*6 + 3*5, face 1: 1*5 + 2*4 + 3*6, face 2: 1*6 + 2*5 + 3*4
    assert t_product(a, b).flatten().tolist() == pytest.approx([31.0, 31.0, 28.0], abs=1e-5)
    # FUSE appendix A, depth 2: [A0 B0 + A1 B1, A1 B0 + A0 B1]
    a, b = random(2, 3, 2), random(3, 4, 2, seed=1)
    a0, a1, b0, b1 = a[..., 0], a[..., 1], b[..., 0], b[..., 1]
    by_hand = torch.stack((a0 @ b0 + a1 @ b1, a1 @ b0 + a0 @ b1), dim=-1)
    torch.testing.assert_close(t_product(a, b), by_hand)


def test_order_two_is_the_matrix_product() -> None:
    a, b = random(3, 4), random(4, 2, seed=1)
    torch.testing.assert_close(t_product(a, b), a @ b)
    torch.testing.assert_close(t_transpose(a), a.T)
    torch.testing.assert_close(t_pinv(a), torch.linalg.pinv(a))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("depths", DEPTHS)
def test_product_is_block_circulant(depths: tuple[int, ...], dtype: torch.dtype) -> None:
    a, b = random(3, 4, *depths, dtype=dtype), random(4, 2, *depths, seed=1, dtype=dtype)
    product = t_product(a, b)
    assert product.dtype == dtype
    assert product.shape == (3, 2, *depths)
    oracle = fold(bcirc(a.double()) @ unfold(b.double()), depths)
    assert error(product, oracle) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    a, b = random(3, 4, 3, dtype=dtype), random(4, 2, 3, seed=1, dtype=dtype)
    assert t_product(a, b).dtype == dtype
    torch.testing.assert_close(t_product(a, b), t_product(a.float(), b.float()).to(dtype))
    assert t_pinv(a).dtype == dtype


@pytest.mark.parametrize("depths", DEPTHS)
def test_ring_identities(depths: tuple[int, ...]) -> None:
    a, b, b2, c = (random(*s, *depths, seed=i) for i, s in enumerate([(2, 3), (3, 4), (3, 4), (4, 2)]))
    assert error(t_product(t_product(a, b), c), t_product(a, t_product(b, c))) < 1e-12
    assert error(t_product(a, b + b2), t_product(a, b) + t_product(a, b2)) < 1e-12
    assert error(t_product(b + b2, c), t_product(b, c) + t_product(b2, c)) < 1e-12
    assert error(t_product(t_identity(2, depths, torch.float64), a), a) < 1e-12
    assert error(t_product(a, t_identity(3, depths, torch.float64)), a) < 1e-12


def test_product_of_nothing_is_empty() -> None:
    assert t_product(torch.zeros(0, 3, 2), torch.zeros(3, 4, 2)).shape == (0, 4, 2)


# --- the generalised product ---


def generalised_by_definition(a: Tensor, b: Tensor) -> Tensor:
    """FUSE appendix A in one depth, with the circular padding written out."""
    p, q = a.shape[2], b.shape[2]
    padded = torch.cat([b[..., [k % q]] for k in range(-(p - 1), q)], dim=-1)
    out = [sum(a[..., j] @ padded[..., p - 1 + k - j] for j in range(p)) for k in range(q)]
    return torch.stack(out, dim=-1)


@pytest.mark.parametrize("p", [1, 2, 3, 5])
@pytest.mark.parametrize("q", [1, 2, 4])
def test_generalised_product_is_a_convolution_with_circular_padding(p: int, q: int) -> None:
    a, b = random(2, 3, p), random(3, 4, q, seed=1)
    torch.testing.assert_close(t_product_generalised(a, b), generalised_by_definition(a, b))


@pytest.mark.parametrize("depths", DEPTHS)
def test_generalised_product_equals_t_product_for_equal_depths(depths: tuple[int, ...]) -> None:
    a, b = random(2, 3, *depths), random(3, 4, *depths, seed=1)
    torch.testing.assert_close(t_product_generalised(a, b), t_product(a, b))


@pytest.mark.parametrize("depths", [(2, 2, 4), (2, 3, 4)])
def test_generalised_product_is_distributive_but_not_associative(depths: tuple[int, int, int]) -> None:
    shapes = [(3, 4), (4, 5), (5, 2)]
    a, b, c = (random(*s, p, seed=i) for i, (s, p) in enumerate(zip(shapes, depths, strict=True)))
    b2, c2 = random(*b.shape, seed=7), random(*c.shape, seed=8)
    g = t_product_generalised
    assert error(g(a, b + b2), g(a, b) + g(a, b2)) < 1e-12
    assert error(g(b, c + c2), g(b, c) + g(b, c2)) < 1e-12
    # Appendix A says that associativity is easy to verify; the two sides do not even resemble each other.
    assert error(g(g(a, b), c), g(a, g(b, c))) > 0.5


def test_generalised_product_in_two_depths() -> None:
    a, b = random(2, 3, 2, 5), random(3, 4, 3, 2, seed=1)
    out = torch.zeros(2, 4, 3, 2, dtype=torch.float64)
    for i, j, k, n in itertools.product(range(2), range(5), range(3), range(2)):
        out[..., (i + k) % 3, (j + n) % 2] += a[..., i, j] @ b[..., k, n]
    torch.testing.assert_close(t_product_generalised(a, b), out)


# --- the transpose ---


@pytest.mark.parametrize("depths", DEPTHS)
def test_transpose(depths: tuple[int, ...]) -> None:
    a, b = random(2, 3, *depths), random(3, 4, *depths, seed=1)
    torch.testing.assert_close(bcirc(t_transpose(a)), bcirc(a).T)
    torch.testing.assert_close(t_transpose(t_transpose(a)), a)
    torch.testing.assert_close(t_transpose(t_product(a, b)), t_product(t_transpose(b), t_transpose(a)))


@pytest.mark.parametrize("depths", DEPTHS)
def test_vector_jacobian_product_is_the_product_with_the_transpose(depths: tuple[int, ...]) -> None:
    e, t = random(5, 4, *depths).requires_grad_(), random(4, 3, *depths, seed=1)
    g = random(5, 3, *depths, seed=2)
    (grad,) = torch.autograd.grad(t_product(e, t), e, g)
    assert error(t_product(g, t_transpose(t)), grad) < 1e-12


@pytest.mark.parametrize(("depth", "least"), [(1, 0.0), (2, 0.0), (3, 0.3), (4, 0.5)])
def test_plain_permute_is_a_wrong_pullback_from_depth_three(depth: int, least: float) -> None:
    e, t = random(20, 30, depth).requires_grad_(), random(30, 10, depth, seed=1)
    g = random(20, 10, depth, seed=2)
    (grad,) = torch.autograd.grad(t_product(e, t), e, g)
    wrong = error(t_product(g, permute(t)), grad)
    assert wrong < 1e-12 if least == 0 else wrong > least


@pytest.mark.parametrize("depths", [(), (3,), (4,), (2, 3)])
def test_gradcheck(depths: tuple[int, ...]) -> None:
    a, b = random(2, 3, *depths).requires_grad_(), random(3, 2, *depths, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(t_product, (a, b))
    assert torch.autograd.gradcheck(t_transpose, (a,))
    assert torch.autograd.gradcheck(t_pinv, (a,))


def test_cached_transforms_work_under_autograd_after_inference_mode() -> None:
    with torch.inference_mode():
        t_product(random(1, 1, 11), random(1, 1, 11))
    e = random(1, 1, 11).requires_grad_()
    t_product(e, random(1, 1, 11, seed=1)).sum().backward()
    assert e.grad is not None


# --- the pseudoinverse ---


def penrose_errors(a: Tensor, x: Tensor, transpose) -> list[float]:
    """Relative violations of the four Penrose conditions."""
    ax, xa = t_product(a, x), t_product(x, a)
    return [
        error(t_product(ax, a), a),
        error(t_product(xa, x), x),
        error(transpose(ax), ax),
        error(transpose(xa), xa),
    ]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
@pytest.mark.parametrize("depths", DEPTHS)
def test_penrose_conditions(depths: tuple[int, ...], shape: tuple[int, int], dtype: torch.dtype) -> None:
    a = random(*shape, *depths, dtype=dtype)
    inverse = t_pinv(a)
    assert inverse.dtype == dtype
    assert max(penrose_errors(a, inverse, t_transpose)) < 100 * TOLERANCE[dtype]
    oracle = faces(torch.linalg.pinv(bcirc(a.double())), depths)
    assert error(inverse, oracle) < 100 * TOLERANCE[dtype]


@pytest.mark.parametrize("depths", [(3,), (4,), (2, 3)])
def test_penrose_conditions_fail_with_a_plain_permute(depths: tuple[int, ...]) -> None:
    a = random(5, 3, *depths)
    first, second, left, right = penrose_errors(a, t_pinv(a), permute)
    assert max(first, second) < 1e-10
    assert left > 0.1
    # a^+ * a is the identity here, which is symmetric either way; with more columns than rows a * a^+ is.
    assert right < 1e-10
    b = random(3, 5, *depths)
    assert penrose_errors(b, t_pinv(b), permute)[3] > 0.1


@pytest.mark.parametrize("depths", DEPTHS)
def test_pseudoinverse_of_deficient_rank(depths: tuple[int, ...]) -> None:
    a = t_product(random(6, 2, *depths), random(2, 5, *depths, seed=1))
    assert max(penrose_errors(a, t_pinv(a), t_transpose)) < 1e-10


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_pseudoinverse_does_not_invert_the_noise_of_vanishing_faces(depth: int) -> None:
    a = random(5, 3, 1).expand(5, 3, depth)  # constant along the depth: one Fourier face is not zero
    inverse = t_pinv(a)
    assert max(penrose_errors(a, inverse, t_transpose)) < 1e-10
    assert error(inverse, faces(torch.linalg.pinv(bcirc(a), rtol=1e-12), (depth,))) < 1e-10
    assert t_pinv(torch.zeros(3, 2, depth)).abs().max() == 0


def test_rcond_cuts_small_singular_values() -> None:
    a = torch.diag(torch.tensor([1.0, 1e-3], dtype=torch.float64))[..., None]
    assert t_pinv(a)[1, 1, 0] == pytest.approx(1e3)
    assert t_pinv(a, rcond=1e-2)[1, 1, 0] == 0


# --- least squares ---


def fit(v: Tensor, w: Tensor, blocks: list[int] | None = None, **options) -> Tensor:
    least_squares = TLeastSquares(v.shape[1], w.shape[1], v.shape[2:], **options)
    for v_block, w_block in zip(v.split(blocks or len(v)), w.split(blocks or len(w)), strict=True):
        least_squares.update(v_block, w_block)
    return least_squares.solve()


@pytest.mark.parametrize("depths", DEPTHS)
def test_least_squares_is_the_pseudoinverse_times_the_target(depths: tuple[int, ...]) -> None:
    v, w = random(40, 4, *depths), random(40, 3, *depths, seed=1)
    m = fit(v, w)
    assert m.shape == (4, 3, *depths)
    assert error(m, t_product(t_pinv(v), w)) < 1e-10
    residual = w - t_product(v, m)
    assert float(t_product(t_transpose(v), residual).abs().max()) < 1e-10  # orthogonal to every column of V


@pytest.mark.parametrize("blocks", [[1] * 30, [7, 23], [29, 1], [30, 0], [10, 10, 10]])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_any_split_into_blocks_gives_the_same(blocks: list[int], ridge: float) -> None:
    v, w = random(30, 4, 3), random(30, 2, 3, seed=1)
    assert error(fit(v, w, blocks, ridge=ridge), fit(v, w, ridge=ridge)) < 1e-12


def test_rows_may_follow_a_solution() -> None:
    v, w = random(30, 4, 3), random(30, 2, 3, seed=1)
    least_squares = TLeastSquares(4, 2, (3,))
    least_squares.update(v[:20], w[:20])
    assert error(least_squares.solve(), fit(v[:20], w[:20])) < 1e-12
    least_squares.update(v[20:], w[20:])
    assert least_squares.rows == 30
    assert error(least_squares.solve(), fit(v, w)) < 1e-12


@pytest.mark.parametrize("depths", DEPTHS)
def test_deficient_rank_gives_the_solution_of_least_norm(depths: tuple[int, ...]) -> None:
    v = t_product(random(40, 2, *depths), random(2, 5, *depths, seed=1))
    w = random(40, 3, *depths, seed=2)
    assert error(fit(v, w), t_product(t_pinv(v), w)) < 1e-7
    few, target = random(3, 5, *depths), random(3, 2, *depths, seed=3)  # fewer rows than columns
    assert error(fit(few, target), t_product(t_pinv(few), target)) < 1e-7


def test_zero_padded_rows_as_the_vocabulary_tensor_has_them() -> None:
    v, w = random(50, 4, 3), random(50, 3, 3, seed=1)
    v[20:, :, 1:] = 0  # words of one token
    assert error(fit(v, w), t_product(t_pinv(v), w)) < 1e-10
    v[..., 1:] = 0  # only such words: every Fourier face is equal
    assert error(fit(v, w), t_product(t_pinv(v), w)) < 1e-10


@pytest.mark.parametrize("depths", DEPTHS)
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 1e3])
def test_ridge_equals_least_squares_with_extra_rows(depths: tuple[int, ...], ridge: float) -> None:
    v, w = random(12, 4, *depths), random(12, 3, *depths, seed=1)
    extra_v = math.sqrt(ridge) * t_identity(4, depths, torch.float64)
    extended_v = torch.cat((v, extra_v))
    extended_w = torch.cat((w, torch.zeros(4, 3, *depths, dtype=torch.float64)))
    assert error(fit(v, w, ridge=ridge), t_product(t_pinv(extended_v), extended_w)) < 1e-10


def test_ridge_path() -> None:
    v, w = random(20, 4, 3), random(20, 3, 3, seed=1)
    unregularised = fit(v, w)
    path = [fit(v, w, ridge=10.0**exponent) for exponent in range(-9, 10, 3)]
    norms = [float(m.norm()) for m in path]
    assert norms == sorted(norms, reverse=True)
    assert error(path[0], unregularised) < 1e-9
    assert norms[-1] < 1e-6 * norms[0]
    deficient = t_product(random(20, 2, 3), random(2, 4, 3, seed=2))
    assert error(fit(deficient, w, ridge=1e-7), fit(deficient, w)) < 1e-5  # its limit is the pseudoinverse


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-6)])
def test_blocks_are_converted_to_the_dtype_of_the_sums(dtype: torch.dtype, tolerance: float) -> None:
    v, w = random(200, 4, 3), random(200, 3, 3, seed=1)
    m = fit(v.float(), w.float(), dtype=dtype)
    assert m.dtype == dtype
    assert error(m, fit(v, w)) < tolerance


def test_sums_track_no_gradient() -> None:
    v = random(10, 2, 3).requires_grad_()
    assert not fit(v, v).requires_grad


# --- errors ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: t_product(torch.zeros(2, 3, 2), torch.zeros(4, 2, 2)), r"b.shape=.*needs 3 rows"),
        (lambda: t_product(torch.zeros(2, 3, 2), torch.zeros(3, 2, 3)), "t_product_generalised"),
        (lambda: t_product(torch.zeros(2, 3, 2), torch.zeros(3, 2, 2).double()), r"b.dtype=torch.float64"),
        (lambda: t_product(torch.zeros(2, 3).long(), torch.zeros(3, 2)), r"a.dtype=torch.int64"),
        (lambda: t_product(torch.zeros(2, 3).cfloat(), torch.zeros(3, 2)), r"a.dtype=torch.complex64"),
        (lambda: t_product(torch.zeros(3), torch.zeros(3, 2)), r"a.shape=\(3,\)"),
        (lambda: t_product(torch.zeros(2, 3, 0), torch.zeros(3, 2, 0)), "every p at least 1"),
        (lambda: t_product_generalised(torch.zeros(2, 3, 2), torch.zeros(3, 2)), "b.ndim=2.*append depths"),
        (lambda: t_transpose(torch.zeros(3)), "a.shape"),
        (lambda: t_identity(0, (2,)), "k=0"),
        (lambda: t_identity(2, (2, 0)), r"depths=\(2, 0\)"),
        (lambda: t_pinv(torch.zeros(2, 3, 2), rcond=1.0), "rcond=1.0"),
        (lambda: t_pinv(torch.full((2, 3, 2), math.nan)), "NaN"),
        (lambda: t_pinv(torch.zeros(0, 3, 2)), "must not be empty"),
        (lambda: TLeastSquares(0, 2, (2,)), "rows_in=0"),
        (lambda: TLeastSquares(2, 2, (0,)), r"\(2, 0\)"),
        (lambda: TLeastSquares(2, 2, (2,), ridge=-1.0), "ridge=-1.0.*>= 0"),
        (lambda: TLeastSquares(2, 2, (2,), ridge=math.nan), "ridge=nan"),
        (lambda: TLeastSquares(2, 2, (2,), dtype=torch.float16), "dtype=torch.float16.*float64"),
        (lambda: TLeastSquares(2, 2, (2,), rcond=-0.1), "rcond=-0.1"),
        (lambda: TLeastSquares(2, 2, (2,)).solve(), "rows=0.*update"),
        (
            lambda: TLeastSquares(2, 3, (2,)).update(torch.zeros(4, 2, 2), torch.zeros(5, 3, 2)),
            "w_block.shape",
        ),
        (
            lambda: TLeastSquares(2, 3, (2,)).update(torch.zeros(4, 3, 2), torch.zeros(4, 3, 2)),
            "v_block.shape",
        ),
        (
            lambda: TLeastSquares(2, 3, ()).update(torch.zeros(4, 2).long(), torch.zeros(4, 3)),
            "v_block.dtype=torch.int64",
        ),
        (lambda: fit(torch.full((3, 2, 2), math.inf), torch.zeros(3, 2, 2)), "update.*NaN or infinite"),
        (lambda: fit(torch.ones(9, 9, 1), torch.ones(9, 1, 1), ridge=1e-30), "ridge=1e-30 is too small"),
    ],
)
def test_errors_name_the_value_and_the_remedy(call, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
