"""Points that are more than a cluster takes in one array."""

import subprocess

import pytest

from fuse_repro.sweeps import slurm_queue
from fuse_repro.sweeps.slurm_arrays import Array, cut
from fuse_repro.sweeps.slurm_queue import largest_array


@pytest.mark.parametrize("largest", [None, 5, 6])
def test_few_points_are_one_array(largest: int | None) -> None:
    assert cut(5, largest, 256) == [Array(0, 5, 256)]


def test_arrays_hold_every_point_once_and_share_what_runs_at_once() -> None:
    assert cut(7, 3, 10) == [Array(0, 3, 3), Array(3, 6, 3), Array(6, 7, 3)]


def test_more_arrays_than_jobs_at_once_wait_in_rows() -> None:
    arrays = cut(9, 2, 2)
    assert [(array.parallel, array.after) for array in arrays] == [
        (1, None),
        (1, None),
        (1, 0),
        (1, 1),
        (1, 2),
    ]


@pytest.mark.parametrize("largest", [0, 1])
def test_a_cluster_without_arrays_gets_single_jobs(largest: int) -> None:
    assert cut(3, largest, 1) == [Array(0, 1, 1), Array(1, 2, 1, 0), Array(2, 3, 1, 1)]


@pytest.mark.parametrize("points", range(1, 40, 7))
@pytest.mark.parametrize("largest", [1, 2, 5, 100])
@pytest.mark.parametrize("parallel", [1, 3, 50])
def test_never_more_at_once_than_allowed(points: int, largest: int, parallel: int) -> None:
    arrays = cut(points, largest, parallel)
    assert [n for a in arrays for n in range(a.begin, a.end)] == list(range(points))
    assert max(a.end - a.begin for a in arrays) <= largest
    heads = [a for a in arrays if a.after is None]
    assert sum(a.parallel for a in heads) <= parallel
    followed = [a.after for a in arrays if a.after is not None]
    assert len(followed) == len(set(followed)), "a row has one array after another"


@pytest.mark.parametrize(
    ("shown", "size"),
    [
        ("JobRequeue = 1\nMaxArraySize            = 1001\nMaxDBDMsgs = 20\n", 1001),
        ("slurm_load: error\n", None),
    ],
)
def test_the_cluster_says_how_large_an_array_may_be(
    shown: str, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        slurm_queue, "_call", lambda *command: subprocess.CompletedProcess(command, 0, shown, "")
    )
    assert largest_array() == size
