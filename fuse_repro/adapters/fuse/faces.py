"""How a fitted map is kept: whole, or as two factors of low rank, in a number format.

A map [d_s, d_t, n] is a tuple of factors whose faces are multiplied: the map alone, or a left factor [d_s, r, n] and
a right one [r, d_t, n].
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuse_repro.adapters.fuse.settings import FuseSettings, Key
from fuse_repro.dtypes import torch_dtype
from fuse_repro.storage.tensors import Expectation, Expected

Factors = tuple[Tensor, ...]
WHOLE, LEFT, RIGHT = "map", "left", "right"  # how buffers and stored tensors begin


def factored(fitted: Tensor, rank: int | None, storage: str) -> Factors:
    """The factors of a map [d_s, d_t, n]; of all of this rank, those that come closest to every face."""
    dtype = torch_dtype(storage)
    if rank is None:
        return (fitted.to(dtype),)
    left, spread, right = torch.linalg.svd(fitted.permute(2, 0, 1), full_matrices=False)
    root = spread[:, :rank].sqrt()
    halves = left[..., :rank] * root[:, None], root[..., None] * right[:, :rank]
    return tuple(half.permute(1, 2, 0).contiguous().to(dtype) for half in halves)


def multiplied(factors: Factors) -> Tensor:
    """The map that the factors stand for: [d_s, d_t, n], float32."""
    first, *others = (factor.float() for factor in factors)
    for factor in others:
        first = torch.einsum("irn,rjn->ijn", first, factor)
    return first


def by_face(factor: Tensor) -> Tensor:
    """The same factor [p, q, n] with every face in one piece of memory, so that a product need not gather it."""
    return factor.permute(2, 0, 1).contiguous().permute(1, 2, 0)


def pull(gradient: Tensor, factors: Factors, face: int) -> Tensor:
    """Gradients [w, d_t] times the transpose of one face: [w, d_s]."""
    for factor in reversed(factors):
        gradient = gradient @ factor[..., face].mT.to(gradient)
    return gradient


def push(rows: Tensor, factors: Factors) -> Tensor:
    """Rows [m, d_s] times the first face: [m, d_t]."""
    for factor in factors:
        rows = rows @ factor[..., 0].to(rows)
    return rows


def named(key: Key, factors: Factors) -> dict[str, Tensor]:
    """The factors of a map by the names of their buffers, as they stand in files."""
    parts = (WHOLE,) if len(factors) == 1 else (LEFT, RIGHT)
    return {f"{part}_{_numbers(key)}": factor for part, factor in zip(parts, factors, strict=True)}


def by_key(tensors: Mapping[str, Tensor]) -> dict[Key, Factors]:
    """The factors of every map, from their names."""
    found: dict[Key, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, *numbers = name.split("_")
        found.setdefault(tuple(map(int, numbers)), {})[part] = tensor
    return {key: tuple(parts[part] for part in sorted(parts)) for key, parts in found.items()}


def expected(sizes: tuple[int, int], settings: FuseSettings) -> Expectation:
    """What a file of maps holds: maps of any depth, for one key at least.

    Args:
        sizes: (d_s, d_t).
        settings: of the fit.
    """
    rank, dtype = settings.rank, torch_dtype(settings.storage)
    shapes = {WHOLE: sizes} if rank is None else {LEFT: (sizes[0], rank), RIGHT: (rank, sizes[1])}
    return {rf"{part}_\d+(_\d+)?": Expected((*shape, None), dtype) for part, shape in shapes.items()}


def _numbers(key: Key) -> str:
    return "_".join(map(str, key))
