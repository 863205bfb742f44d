"""The counted costs of FUSE against what torch counts and what is stored."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fuse_repro.adapters.fuse.costs import (
    FuseSize,
    moved_numbers,
    peak_bytes,
    product_operations,
    pull_operations,
    real_faces,
    solve_operations,
    stored_bytes,
)
from fuse_repro.adapters.fuse.faces import factored
from fuse_repro.adapters.fuse.pull import pull_words
from fuse_repro.algebra.t_product import TLeastSquares
from fuse_repro.alignment.pairs import WordPair


@pytest.mark.parametrize(("depth", "faces"), [(1, 1), (2, 2), (3, 5), (4, 6), (5, 9), (8, 14)])
def test_a_depth_has_real_faces_and_pairs_of_complex_ones(depth: int, faces: int) -> None:
    assert real_faces(depth) == faces


@pytest.mark.parametrize("depth", range(1, 9))
def test_the_counted_products_are_those_of_the_faces_that_are_computed(depth: int) -> None:
    gram = TLeastSquares(6, 4, (depth,))._gram
    faces = len(gram.real) + 4 * len(gram.complex)
    assert product_operations(FuseSize(6, 4, (depth,), 10, 0)) == 2 * 10 * faces * 6 * (6 + 4)


def test_costs_add_up_over_depths_and_grow_with_words_only_where_words_are_read() -> None:
    size = FuseSize(6, 4, (1, 2), 10, 50)
    more = replace(size, words=20)
    assert product_operations(more) == 2 * product_operations(size)
    assert (
        solve_operations(more)
        == solve_operations(size)
        == sum(solve_operations(replace(size, depths=(depth,))) for depth in (1, 2))
    )
    assert moved_numbers(size) == (6 + 4) * (10 * 3 + 50)
    assert peak_bytes(replace(size, vocabulary=60)) - peak_bytes(size) == 8 * 10 * (6 + 4)


def test_the_counted_pullback_is_the_one_that_is_computed() -> None:
    words = [WordPair(row, 0, 3, 0, 2) for row in range(5)]
    gradient, result = torch.randn(5, 2, 4), torch.zeros(5, 3, 6)
    with FlopCounterMode(display=False) as counter:
        pull_words(gradient, result, words, (torch.randn(6, 4, 3),), {0: 0, 1: 1, 2: 2})
    assert counter.get_total_flops() == pull_operations(3, 2, 5, FuseSize(6, 4, (3,), 0, 0))


@pytest.mark.parametrize(("rank", "storage", "number"), [(None, "float32", 4), (3, "float16", 2)])
def test_the_counted_bytes_are_those_of_the_tensors(rank: int | None, storage: str, number: int) -> None:
    stored = [factor for depth in (1, 2, 3) for factor in factored(torch.randn(6, 4, depth), rank, storage)]
    assert sum(factor.nbytes for factor in stored) == stored_bytes(
        FuseSize(6, 4, (1, 2, 3), 0, 0), rank, number
    )
