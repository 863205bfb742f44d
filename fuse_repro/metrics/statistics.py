"""Means with bootstrap intervals: of values, of groups of values, of clusters, and of two runs over the same items.

All are percentile bootstraps (Efron and Tibshirani 1993, ch. 13) and differ only in what a resample draws:

- `bootstrap_interval`: the values.
- `nested_interval`: groups, then values within every group drawn.
- `clustered_intervals`: clusters, which cross the groups whose means are averaged.
- `paired_difference`: items that two runs share.

Where there is nothing to resample there is no interval: `low` and `high` are None.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy

from fuse_repro.errors import UsageError, require

BLOCK = 1_000_000
RESAMPLES = 2000
TAILS = (0.025, 0.975)  # of a 95% interval


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval, in the unit of the values.

    Attributes:
        mean: of `count` values.
        low: lower end of the interval; None where there was nothing to resample.
        high: upper end; None with `low`.
        count: how many values there were.
    """

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends for a drawing: without an interval it shrinks to the mean."""
        return (
            self.mean if self.low is None else self.low,
            self.mean if self.high is None else self.high,
        )


def bootstrap_interval(values: Sequence[float]) -> Interval:
    """Mean and interval of at least one value; from a single value there is no interval.

    From few values, such as three seeds, the interval is too narrow; it never reaches beyond the values
    themselves.
    """
    return nested_interval([values])


def nested_interval(groups: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """Mean over groups of the groups' means, every group counting once.

    A resample draws as many groups as there are, then as many values of each as it has. For precision@1 of
    several relations (groups) with several seeds (values), say.

    Args:
        groups: at least one, each with at least one value.
        seed: of the numpy generator that resamples.

    Returns:
        Low and high are None for one group with one value.

    Raises:
        UsageError: no group, or one without a value.
    """
    sizes = [len(values) for values in groups]
    require(bool(sizes) and all(sizes), "sizes of groups", sizes, "at least one group, each with a value")
    mean, count = fmean(fmean(values) for values in groups), sum(sizes)
    if count == 1:
        return Interval(mean, None, None, count)
    low, high = _reach(_nested_means(groups, RESAMPLES, seed))
    return Interval(mean, float(low), float(high), count)


def clustered_interval(
    values: Sequence[float], groups: Sequence[str], clusters: Sequence[str], seed: int = 0
) -> Interval:
    """The interval of one column of values [n]; see `clustered_intervals`."""
    return clustered_intervals(numpy.asarray(values, dtype=float)[:, None], groups, clusters, seed)[0]


def clustered_intervals(
    values: numpy.ndarray, groups: Sequence[str], clusters: Sequence[str], seed: int = 0
) -> list[Interval]:
    """Mean over groups of the groups' means, every group counting once, of every column of `values` [n, m].

    A resample draws clusters (such as the sentence that several prompts were cut from), not single values,
    since those of one cluster vary together (Cameron et al. 2008, pairs cluster bootstrap). Columns share
    resamples.

    Args:
        values: [n, m], a row per prompt, say.
        groups: [n], what counts once.
        clusters: [n], what is resampled.
        seed: of the numpy generator that resamples.

    Returns:
        An interval per column; low and high are None where all values are of one cluster.

    Raises:
        UsageError: no values.
    """
    require(len(values) > 0, "values", [], "at least one")
    names, places = (sorted(set(given)) for given in (groups, clusters))
    total = numpy.zeros((len(places), len(names), values.shape[1]))
    count = numpy.zeros((len(places), len(names)))
    for row, group, cluster in zip(values, groups, clusters, strict=True):
        total[places.index(cluster), names.index(group)] += row
        count[places.index(cluster), names.index(group)] += 1
    means = (total.sum(0) / count.sum(0)[:, None]).mean(0).tolist()
    if len(places) == 1:
        return [Interval(mean, None, None, len(values)) for mean in means]
    low, high = _reach(_clustered_means(total, count, seed))
    columns = zip(means, low.tolist(), high.tolist(), strict=True)
    return [Interval(*column, len(values)) for column in columns]


@dataclass(frozen=True)
class PairedDifference:
    """A mean paired difference with its bootstrap interval, in the unit of the values.

    Attributes:
        mean: of first - second.
        low: lower end of the interval.
        high: upper end.
        pairs: how many items.
    """

    mean: float
    low: float
    high: float
    pairs: int


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> PairedDifference:
    """Mean paired difference, with a percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    Items are resampled, so item difficulty, which both runs share, does not widen the interval. From few
    items (below about 20) the percentile interval is somewhat too narrow.

    Args:
        first: one value per item, shape [n].
        second: the other run's values of the same items in the same order, shape [n].
        seed: of the numpy generator that resamples.
        resamples: number of bootstrap samples.
        confidence: share of the distribution between `low` and `high`.

    Raises:
        UsageError: for fewer than two pairs, unequal lengths, infinite values, or settings out of range.
    """
    require(resamples >= 1, "resamples", resamples, "a whole number from 1 on")
    require(0 < confidence < 1, "confidence", confidence, "a share between 0 and 1, such as 0.95")
    if len(first) != len(second) or len(first) < 2:
        raise UsageError(
            f"{len(first)} and {len(second)} values make no pairs: give as many of each, at least 2"
        )
    differences = numpy.asarray(first, dtype=numpy.float64) - numpy.asarray(second, dtype=numpy.float64)
    if not numpy.isfinite(differences).all():
        raise UsageError(
            "values that are not finite cannot be compared: leave out items that failed in a run"
        )
    tail = (1 - confidence) / 2
    low, high = _reach(_nested_means([differences], resamples, seed), (tail, 1 - tail))
    return PairedDifference(float(differences.mean()), float(low), float(high), len(differences))


def _reach(means: numpy.ndarray, tails: tuple[float, float] = TAILS) -> numpy.ndarray:
    """Both ends of the percentile interval of resampled means [resamples, ...]: [2, ...]."""
    ends: numpy.ndarray = numpy.nanquantile(means, tails, axis=0)
    return ends


def _nested_means(
    groups: Sequence[Sequence[float] | numpy.ndarray], resamples: int, seed: int
) -> numpy.ndarray:
    """Means of `resamples` samples of groups and of values within them: [resamples]."""
    draw = numpy.random.default_rng(seed)
    values = [numpy.asarray(group, dtype=numpy.float64) for group in groups]
    if len(values) == 1:
        return _means(values[0], resamples, draw)
    means = [
        fmean(
            draw.choice(values[row], len(values[row])).mean()
            for row in draw.integers(len(values), size=len(values))
        )
        for _ in range(resamples)
    ]
    return numpy.asarray(means)


def _means(values: numpy.ndarray, resamples: int, draw: numpy.random.Generator) -> numpy.ndarray:
    """Means of samples drawn from `values` [n] with replacement, in blocks of bounded memory: [resamples]."""
    block = max(1, BLOCK // len(values))
    sizes = [min(block, resamples - begun) for begun in range(0, resamples, block)]
    draws = [values[draw.integers(len(values), size=(size, len(values)))].mean(axis=1) for size in sizes]
    return numpy.concatenate(draws)


def _clustered_means(total: numpy.ndarray, count: numpy.ndarray, seed: int) -> numpy.ndarray:
    """Resampled means [RESAMPLES, m] from sums [clusters, groups, m] and counts [clusters, groups].

    A group that a resample misses is left out of that resample's mean.
    """
    clusters = len(total)
    draws = numpy.random.default_rng(seed).multinomial(
        clusters, numpy.full(clusters, 1 / clusters), size=RESAMPLES
    )
    drawn = (draws @ total.reshape(clusters, -1)).reshape(RESAMPLES, *total.shape[1:])
    with numpy.errstate(invalid="ignore"):
        means: numpy.ndarray = numpy.nanmean(drawn / (draws @ count)[:, :, None], axis=1)
    return means
