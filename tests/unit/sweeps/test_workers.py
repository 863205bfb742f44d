"""What every worker of the local launcher has to itself."""

import pytest

from fuse_repro.errors import UsageError
from fuse_repro.sweeps.local import LocalLauncher


@pytest.fixture(autouse=True)
def _no_threads_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)


@pytest.mark.parametrize(
    ("workers", "gpus", "seen"),
    [
        (None, [0, 1, 2], ["0", "1", "2"]),
        (1, [4, 5], ["4"]),
        (2, [0, 1, 2, 3], ["0", "1"]),
        (5, [0, 1], ["0", "1", "0", "1", "0"]),
        (2, ["MIG-a", "MIG-b"], ["MIG-a", "MIG-b"]),
    ],
)
def test_as_many_workers_as_asked_for_share_the_gpus_in_turn(
    workers: int | None, gpus: list[int | str], seen: list[str]
) -> None:
    slots = LocalLauncher(workers=workers, gpus=gpus).slots
    assert [slot.environment()["CUDA_VISIBLE_DEVICES"] for slot in slots] == seen


@pytest.mark.parametrize(("workers", "threads"), [(None, None), (1, None), (2, 4), (3, 2), (20, 1)])
def test_workers_without_gpus_share_the_cores(workers: int | None, threads: int | None) -> None:
    slots = LocalLauncher(workers=workers).slots
    assert [slot.threads for slot in slots] == [threads] * (workers or 1)
    assert {slot.gpu for slot in slots} == {None}


def test_workers_on_gpus_share_the_cores_too() -> None:
    assert {slot.threads for slot in LocalLauncher(gpus=[0, 1, 2, 3]).slots} == {2}
    assert {slot.threads for slot in LocalLauncher(gpus=[0, 1], threads=3).slots} == {3}


def test_no_worker_at_all() -> None:
    with pytest.raises(UsageError, match="workers=0 is not allowed: at least 1, or null for one per GPU"):
        LocalLauncher(workers=0)
