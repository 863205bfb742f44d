"""What FUSE costs, counted: operations of a fit and of a pullback, bytes of its maps and of its peak.

A multiply-add of real numbers counts as two operations, one of complex numbers as eight. In the Fourier domain a
depth n has one real face (two where n is even), and the others come in conjugate pairs, of which one is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fuse_repro.adapters.fuse.fit import BLOCK

EIGEN = 9  # multiply-adds of a symmetric eigendecomposition with vectors, in d^3 (Golub and Van Loan)


@dataclass(frozen=True)
class FuseSize:
    """The sizes that a fit and its maps depend on.

    Attributes:
        d_i: the source model's embedding size.
        d_j: the target model's.
        depths: of the maps: (1, 2, ..., l) where a word has at most as many tokens in the source as in the target.
        words: of each map.
        vocabulary: tokens of either model.
    """

    d_i: int
    d_j: int
    depths: Sequence[int]
    words: int
    vocabulary: int


def real_faces(depth: int) -> int:
    """How many real faces cost as much as all that are computed of a depth; a complex one costs as much as four."""
    own = 1 if depth % 2 else 2
    return own + 4 * ((depth - own) // 2)


def product_operations(size: FuseSize) -> float:
    """Operations of the normal equations V^H V and V^H W of all maps."""
    faces = sum(map(real_faces, size.depths))
    return 2.0 * faces * size.words * size.d_i * (size.d_i + size.d_j)


def solve_operations(size: FuseSize) -> float:
    """Operations of the pseudoinverses: an eigendecomposition per face, and two products with V^H W."""
    faces = sum(map(real_faces, size.depths))
    return 2.0 * faces * size.d_i**2 * (EIGEN * size.d_i + 2 * size.d_j)


def moved_numbers(size: FuseSize) -> float:
    """Numbers gathered and transformed: of all words, and of the tables in the precision of the fit."""
    return float((size.d_i + size.d_j) * (size.words * sum(size.depths) + size.vocabulary))


def pull_operations(source: int, target: int, words: int, size: FuseSize) -> float:
    """Operations of a pullback: m^2 products of a vector with a face per word of m tokens (FUSE, section 4.2)."""
    return 2.0 * words * source * target * size.d_i * size.d_j


def stored_bytes(size: FuseSize, rank: int | None = None, number: int = 4) -> int:
    """Bytes of all maps: d_i d_j per face, or rank (d_i + d_j); each number takes `number` bytes."""
    face = size.d_i * size.d_j if rank is None else rank * (size.d_i + size.d_j)
    return number * face * sum(size.depths)


def peak_bytes(size: FuseSize, number: int = 8) -> float:
    """Bytes that a fit holds at once: the tables, the maps fitted so far, and the deepest map's equations.

    The equations, their eigenvectors and the product with them are three times n faces of d_i (d_i + d_j) numbers; a
    block of words, gathered and in the Fourier domain, is the rest.

    Args:
        size: of the fit.
        number: bytes of a number in the fit's precision.
    """
    depth = max(size.depths)
    both = size.d_i + size.d_j
    equations = 3 * depth * size.d_i * both
    block = 3 * depth * min(BLOCK, size.words) * both
    return number * ((size.vocabulary + 1) * both + equations + block) + stored_bytes(size)
