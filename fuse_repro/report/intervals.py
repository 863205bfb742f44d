"""A mean with the uncertainty that comes from its seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """Mean of `count` values with its 95% interval; from a single value there is none, and low = mean = high."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap_interval(values: Sequence[float]) -> Interval:
    """Mean and percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13) of at least one value.

    From few values, such as three seeds, the interval is too narrow; it never reaches beyond the values themselves.
    """
    array = numpy.asarray(values, dtype=numpy.float64)
    mean = float(array.mean())
    if len(array) == 1:
        return Interval(mean, mean, mean, 1)
    draws = numpy.random.default_rng(0).integers(len(array), size=(RESAMPLES, len(array)))
    low, high = numpy.quantile(array[draws].mean(axis=1), [0.025, 0.975])
    return Interval(mean, float(low), float(high), len(array))
