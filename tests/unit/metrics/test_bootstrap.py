"""The one bootstrap: hand-worked cases, the figures of the three it replaced, and where there is no interval."""

from statistics import fmean

import numpy
import pytest

from fuse_repro.errors import UsageError
from fuse_repro.metrics.statistics import (
    Interval,
    bootstrap_interval,
    clustered_interval,
    clustered_intervals,
    nested_interval,
)


@pytest.mark.parametrize(
    "table",
    [
        [[0.2, 0.4, 0.35]],
        [[0.2], [0.9], [0.4]],
        [[0.2, 0.4, 0.35], [0.9, 0.8, 0.85]],
        [[0.2, 0.4], [0.9, 0.8, 0.85], [0.1]],
    ],
)
def test_groups_then_values_as_precision_over_relations_and_seeds_always_had_it(
    table: list[list[float]],
) -> None:
    """Equal to the last bit: results of transfer runs must not change."""
    draw = numpy.random.default_rng(0)
    means = [
        fmean(
            draw.choice(table[row], len(table[row])).mean()
            for row in draw.integers(len(table), size=len(table))
        )
        for _ in range(2000)
    ]
    low, high = numpy.quantile(means, [0.025, 0.975])
    mean = fmean(fmean(values) for values in table)
    assert nested_interval(table) == Interval(mean, float(low), float(high), sum(map(len, table)))


def test_one_group_is_the_plain_bootstrap() -> None:
    values = [3.0, 1.0, 4.0, 1.5]
    rows = numpy.random.default_rng(0).integers(4, size=(2000, 4))
    low, high = numpy.quantile(numpy.array(values)[rows].mean(1), [0.025, 0.975])
    assert bootstrap_interval(values) == nested_interval([values]) == Interval(2.375, low, high, 4)


CLUSTERS = ((0.39583333333333337, 0.25, 0.575), (5.583333333333333, 1.5, 16.0))


def test_figures_of_clusters_stay_what_they_were() -> None:
    values = numpy.array([[0.1, 1.0], [0.4, 2.0], [0.35, 4.0], [0.8, 8.0], [0.5, 16.0]])
    first, second = clustered_intervals(values, ["a", "b", "a", "b", "b"], ["x", "x", "y", "y", "z"])
    assert (first.mean, first.low, first.high) == pytest.approx(CLUSTERS[0], abs=1e-12)
    assert (second.mean, second.low, second.high) == pytest.approx(CLUSTERS[1], abs=1e-12)


def test_no_interval_where_there_is_nothing_to_resample() -> None:
    """One task and one seed said "95% interval 100.0 to 100.0"."""
    assert nested_interval([[1.0]]) == Interval(1.0, None, None, 1)
    assert bootstrap_interval([0.5]) == Interval(0.5, None, None, 1)
    assert clustered_interval([0.2, 0.4], ["a", "b"], ["x", "x"]) == Interval(
        pytest.approx(0.3), None, None, 2
    )
    assert nested_interval([[1.0]]).ends == (1.0, 1.0)
    assert nested_interval([[1.0], [1.0]]).ends == (1.0, 1.0), "two relations are resampled"


def test_relations_count_once_however_many_seeds_they_have() -> None:
    assert nested_interval([[0.0, 0.0, 0.0], [1.0]]).mean == 0.5


def test_errors() -> None:
    with pytest.raises(UsageError, match=r"sizes of groups=\[\] is not allowed"):
        nested_interval([])
    with pytest.raises(UsageError, match=r"sizes of groups=\[1, 0\] is not allowed"):
        nested_interval([[1.0], []])
