"""The bootstrap interval against the t-interval, its coverage, and its errors."""

import math

import numpy
import pytest

from fuse_repro.errors import UsageError
from fuse_repro.metrics.statistics import paired_difference

T_975_199 = 1.971957  # 97.5% quantile of Student's t with 199 degrees of freedom


def test_agrees_with_the_t_interval_on_normal_data() -> None:
    generator = numpy.random.default_rng(3)
    second = generator.normal(50, 20, 200)
    first = second + generator.normal(0.5, 1.0, 200)
    result = paired_difference(first.tolist(), second.tolist(), seed=1, resamples=20_000)
    differences = first - second
    half = T_975_199 * differences.std(ddof=1) / math.sqrt(200)
    assert result.mean == pytest.approx(differences.mean())
    assert result.low == pytest.approx(differences.mean() - half, abs=0.05 * half)
    assert result.high == pytest.approx(differences.mean() + half, abs=0.05 * half)
    assert result.pairs == 200


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = numpy.random.default_rng(5)
    zeros = [0.0] * 40
    results = [
        paired_difference(generator.normal(1, 2, 40).tolist(), zeros, seed=seed, resamples=1000)
        for seed in range(300)
    ]
    covered = sum(result.low <= 1 <= result.high for result in results)
    assert 0.90 <= covered / 300 <= 0.98


def test_identities() -> None:
    first, second = [3.0, 1.0, 4.0, 1.5], [2.0, 2.0, 2.0, 2.0]
    result = paired_difference(first, second, seed=0)
    assert paired_difference(first, second, seed=0) == result
    mirrored = paired_difference(second, first, seed=0)
    assert (mirrored.mean, mirrored.low, mirrored.high) == pytest.approx(
        (-result.mean, -result.high, -result.low)
    )
    narrow = paired_difference(first, second, seed=0, confidence=0.5)
    assert result.low < narrow.low <= narrow.high < result.high
    constant = paired_difference([2.0, 3.0], [1.0, 2.0])
    assert (constant.mean, constant.low, constant.high) == (1.0, 1.0, 1.0)


def test_blocks_bound_the_memory_without_changing_the_meaning() -> None:
    first = numpy.random.default_rng(0).normal(size=30_000).tolist()
    result = paired_difference(first, [0.0] * 30_000, resamples=200)
    assert result.high - result.low == pytest.approx(2 * 1.96 / math.sqrt(30_000), rel=0.2)


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        ([1.0], [1.0], {}, "1 and 1 values make no pairs"),
        ([1.0, 2.0], [1.0], {}, "2 and 1 values make no pairs"),
        ([1.0, math.nan], [1.0, 2.0], {}, "not finite"),
        ([1.0, 2.0], [1.0, 2.0], {"confidence": 1.0}, r"confidence=1\.0 is not allowed"),
        ([1.0, 2.0], [1.0, 2.0], {"resamples": 0}, "resamples=0 is not allowed"),
    ],
)
def test_errors(first: list[float], second: list[float], options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        paired_difference(first, second, **options)
