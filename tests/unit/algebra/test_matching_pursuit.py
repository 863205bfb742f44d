"""Few of many vectors: exact where a row is made of few, least squares otherwise, and every row for itself."""

from itertools import combinations

import pytest
import torch
from torch.nn.functional import normalize

from fuse_repro.algebra.matching_pursuit import fitting_weights, matching_pursuit


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def put_together(places: torch.Tensor, weights: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    return (weights.unsqueeze(1) @ directions[places]).squeeze(1)


def test_a_row_that_is_one_vector_is_that_vector_alone() -> None:
    directions = normalize(drawn(50, 12), dim=1)
    rows = torch.tensor([[3.0], [-2.0]], dtype=torch.float64) * directions[[7, 11]]
    places, weights = matching_pursuit(rows, directions, 4)
    assert places[:, 0].tolist() == [7, 11]
    torch.testing.assert_close(weights[:, 0], torch.tensor([3.0, -2.0], dtype=torch.float64))
    assert not weights[:, 1:].any()


def test_orthogonal_vectors_are_taken_by_weight_until_nothing_is_left() -> None:
    rows = torch.tensor([[0.0, 5.0, -1.0, 0.0, 2.0]], dtype=torch.float64)
    places, weights = matching_pursuit(rows, torch.eye(5, dtype=torch.float64), 4)
    assert places[0, :3].tolist() == [1, 4, 2]
    assert weights[0].tolist() == pytest.approx([5.0, 2.0, -1.0, 0.0])


def test_the_weights_are_the_least_squares_of_what_was_taken() -> None:
    directions, rows = normalize(drawn(60, 12), dim=1), drawn(5, 12, seed=1)
    places, weights = matching_pursuit(rows, directions, 4)
    for row, place, weight in zip(rows, places, weights, strict=True):
        assert len(set(place.tolist())) == 4
        expected = torch.linalg.lstsq(directions[place].T, row[:, None]).solution[:, 0]
        torch.testing.assert_close(weight, expected)
    left = [
        (rows - put_together(*matching_pursuit(rows, directions, n), directions)).norm() for n in (1, 2, 4)
    ]
    assert left[0] > left[1] > left[2]


def test_non_negative_weights_are_the_best_of_all_sets_of_vectors() -> None:
    taken, rows = normalize(drawn(12, 4, 6), dim=2), drawn(12, 6, seed=1)
    found = fitting_weights(taken, rows, True)
    assert (fitting_weights(taken, rows, False) < 0).any()
    assert found.min() == 0
    for vectors, row, weights in zip(taken, rows, found, strict=True):
        best = row.norm()  # of no vector at all
        for size in range(1, 5):
            for some in combinations(range(4), size):
                free = torch.linalg.lstsq(vectors[list(some)].T, row[:, None]).solution[:, 0]
                if free.min() >= 0:
                    best = min(best, (row - free @ vectors[list(some)]).norm())
        assert float((row - weights @ vectors).norm()) == pytest.approx(float(best), abs=1e-9)


def test_vectors_that_point_away_are_not_taken_where_weights_may_not_be_negative() -> None:
    row = torch.tensor([[2.0, -3.0, 0.0]], dtype=torch.float64)
    places, weights = matching_pursuit(row, torch.eye(3, dtype=torch.float64), 2, non_negative=True)
    assert places[0, 0] == 0
    assert weights[0].tolist() == [2.0, 0.0]


def test_rows_do_not_depend_on_each_other_and_few_vectors_are_enough() -> None:
    directions, rows = normalize(drawn(30, 8), dim=1), drawn(6, 8, seed=1)
    together = put_together(*matching_pursuit(rows, directions, 3), directions)
    for place in range(6):
        alone = put_together(*matching_pursuit(rows[place : place + 1], directions, 3), directions)
        torch.testing.assert_close(alone[0], together[place])
    places, weights = matching_pursuit(rows, directions[:2], 9)
    assert places.shape == weights.shape == (6, 2)
    zero = matching_pursuit(torch.zeros(1, 8), directions, 3)[1]
    assert not zero.any()
