"""Rank correlation, recall, regret and their intervals, from hand-worked cases."""

import numpy
import pytest
import torch
from torchmetrics.functional import spearman_corrcoef

from fuse_repro.errors import UsageError
from fuse_repro.metrics.fidelity import (
    fidelity,
    flat,
    recall_at,
    regret_at,
    sample_k,
    spearman,
    top_k,
)
from fuse_repro.metrics.statistics import clustered_interval


def test_spearman_by_hand() -> None:
    true = torch.tensor([1.0, 2, 3, 4, 5])
    assert spearman(true**3, true) == pytest.approx(1)
    assert spearman(-true, true) == pytest.approx(-1)
    assert spearman(torch.tensor([2.0, 1, 4, 3, 5]), true) == pytest.approx(1 - 6 * 4 / (5 * 24))
    # ties share their mean rank: ranks 1.5 1.5 3 4 5
    tied = torch.tensor([1.0, 1, 2, 3, 4])
    expected = numpy.corrcoef([1.5, 1.5, 3, 4, 5], [1, 2, 3, 4, 5])[0, 1]
    assert spearman(tied, true) == pytest.approx(expected)


@pytest.mark.parametrize("steps", [None, 3])
def test_spearman_and_recall_agree_with_their_definitions_on_random_values(steps: int | None) -> None:
    """With steps, most values are ties, of which the first count as the better ones."""
    generator = torch.Generator().manual_seed(1)
    true = torch.randn(700, generator=generator)
    predicted = true + torch.randn(700, generator=generator)
    if steps is not None:
        true, predicted = (steps * true).round(), (steps * predicted).round()
    assert spearman(predicted, true) == pytest.approx(float(spearman_corrcoef(predicted, true)), abs=1e-5)
    for k in (1, 7, 50, 700):
        best, found = (sorted(range(700), key=values.tolist().__getitem__) for values in (true, predicted))
        expected = len(set(best[:7]) & set(found[:k])) / 7
        assert recall_at(predicted, true, k) == pytest.approx(expected, abs=1e-7)


def test_spearman_of_a_whole_large_vocabulary_with_ties() -> None:
    """Half of 262,144 values tie: the sum of their ranks does not fit into 32 bits."""
    true = torch.arange(262_144.0)
    predicted = true.clamp(min=131_072)
    ranks = torch.cat([torch.full((131_073,), 65_537.0), torch.arange(131_074.0, 262_145)]).numpy()
    expected = numpy.corrcoef(ranks.astype(float), true.numpy().astype(float))[0, 1]
    assert spearman(predicted, true) == pytest.approx(expected, abs=1e-9)
    assert spearman(-predicted, true) == pytest.approx(-expected, abs=1e-9)


def test_a_prediction_without_spread_correlates_with_nothing() -> None:
    true = torch.arange(10.0)
    assert spearman(torch.zeros(10), true) == 0
    assert spearman(true, torch.zeros(10)) == 0


def test_lower_is_better_and_of_equals_the_first() -> None:
    assert top_k(torch.tensor([3.0, 1, 2, 1]), 3).tolist() == [1, 3, 2]


def test_recall_by_hand() -> None:
    true = torch.arange(200.0)  # the best 1% are 0 and 1
    predicted = true.clone()
    assert recall_at(predicted, true, 2) == 1
    predicted[1] = 1000
    assert recall_at(predicted, true, 2) == 0.5
    assert recall_at(predicted, true, 199) == 0.5
    assert recall_at(predicted, true, 200) == 1


def test_regret_is_in_standard_deviations() -> None:
    true = torch.tensor([0.0, 1, 2, 3])
    predicted = torch.tensor([9.0, 5, 1, 2])
    assert regret_at(predicted, true, 1) == pytest.approx(2 / float(true.std()))
    assert regret_at(predicted, true, 3) == pytest.approx(1 / float(true.std()))
    assert regret_at(predicted, true, 4) == 0
    assert regret_at(predicted, torch.zeros(4), 1) == 0


def test_a_sample_stands_for_its_pool() -> None:
    assert sample_k(512, 2048, 49152) == 21
    assert sample_k(512, 49152, 49152) == 512
    assert sample_k(64, 500, 49152) == 1
    with pytest.raises(UsageError, match=r"runner\.candidates=300 of 49152.*at least 384, or drop k=64"):
        sample_k(64, 300, 49152)


def test_the_oracle_and_the_ignorant() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(2000, generator=generator)
    oracle = flat(fidelity(true, true, [64, 512], 20000))
    assert oracle == {
        "spearman": pytest.approx(1),
        "recall@64": pytest.approx(6 / 20),
        "recall@512": 1,
        "regret@64": 0,
        "regret@512": 0,
    }
    ignorant = flat(fidelity(torch.randn(2000, generator=generator), true, [64, 512], 20000))
    assert abs(ignorant["spearman"]) < 0.1
    assert ignorant["recall@512"] < 0.2
    assert ignorant["regret@64"] > 0.5
    with pytest.raises(UsageError, match="not finite"):
        fidelity(torch.full((2000,), torch.nan), true, [64], 20000)


def test_every_group_counts_once() -> None:
    found = clustered_interval([0, 0, 0, 1], ["a", "a", "a", "b"], ["x", "y", "z", "x"])
    assert found.mean == 0.5
    assert found.count == 4


def test_interval_resamples_clusters_not_values() -> None:
    """A hundred copies of two sentences say no more than the two."""
    draw = numpy.random.default_rng(0)
    values = draw.normal(size=40)
    one = clustered_interval(list(values), ["g"] * 40, [str(i) for i in range(40)])
    expected = 1.96 * values.std() / 40**0.5
    assert (one.high - one.low) / 2 == pytest.approx(expected, rel=0.15)
    copies = clustered_interval(list(values) * 25, ["g"] * 1000, [str(i) for i in range(40)] * 25)
    assert copies.high - copies.low == pytest.approx(one.high - one.low, rel=1e-6)


def test_a_group_that_a_resample_misses_is_left_out_there() -> None:
    found = clustered_interval([0.0, 1.0], ["a", "b"], ["x", "y"])
    assert (found.mean, found.low, found.high) == (0.5, 0, 1)
    with pytest.raises(UsageError, match="at least one"):
        clustered_interval([], [], [])


def test_equal_values_have_no_rank_correlation_however_their_mean_rounds() -> None:
    """The standard deviation of 40 times 0.1 is not zero in single precision."""
    for value in (0.1, 1 / 3, 1e-8, 7.7):
        assert spearman(torch.full((41,), value), torch.arange(41.0)) == 0.0
