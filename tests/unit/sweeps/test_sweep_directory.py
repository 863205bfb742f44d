"""sweep.json: what it holds, and what is refused."""

import json
from pathlib import Path

import pytest

from fuse_repro.errors import UsageError
from fuse_repro.runs.state import RunState
from fuse_repro.sweeps.outcome import Counts
from fuse_repro.sweeps.pool import Slot, reason_of_death, tail
from fuse_repro.sweeps.sweep import Point, open_sweep, read_sweep


def points(directory: Path) -> list[Point]:
    values = [{"seed": 0, "adapter.anchors": None}, {"seed": 1, "adapter.anchors": 512}]
    return [Point(f"id{n}", directory / f"id{n}", overrides) for n, overrides in enumerate(values)]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    sweep = open_sweep(tmp_path / "s", "hash", "demo", ["seed=0,1"])
    assert not (tmp_path / "s").exists()
    sweep.add(points(sweep.directory))
    content = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert content["format"] == 1
    assert content["axes"] == {"seed": [0, 1], "adapter.anchors": [None, 512]}
    assert content["points"][0] == {
        "id": "id0",
        "directory": "id0",
        "overrides": {"seed": 0, "adapter.anchors": None},
    }
    again = read_sweep(tmp_path / "s")
    assert (again.id, again.name, again.overrides, again.created) == (
        "hash",
        "demo",
        ["seed=0,1"],
        sweep.created,
    )
    assert [point.directory for point in again.points.values()] == [
        tmp_path / "s" / "id0",
        tmp_path / "s" / "id1",
    ]
    assert [point.label for point in again.points.values()] == [
        "seed=0 adapter.anchors=null",
        "seed=1 adapter.anchors=512",
    ]


def test_points_are_added_and_none_is_lost(tmp_path: Path) -> None:
    first, second = points(tmp_path / "s")
    open_sweep(tmp_path / "s", "hash", "demo", []).add([first])
    open_sweep(tmp_path / "s", "hash", "demo", []).add([second])
    assert list(read_sweep(tmp_path / "s").points) == ["id0", "id1"]


def test_another_sweep_is_refused(tmp_path: Path) -> None:
    open_sweep(tmp_path / "s", "hash", "demo", ["seed=0,1"]).add([])
    with pytest.raises(
        UsageError, match=r"holds another sweep \(seed=0,1\) than this one; choose another place"
    ):
        open_sweep(tmp_path / "s", "other", "demo", [])
    with pytest.raises(UsageError, match="is not the directory of a sweep"):
        read_sweep(tmp_path)


def test_a_sweep_can_be_moved(tmp_path: Path) -> None:
    sweep = open_sweep(tmp_path / "s", "hash", "demo", [])
    sweep.add(points(sweep.directory))
    (tmp_path / "s").rename(tmp_path / "t")
    assert read_sweep(tmp_path / "t").points["id0"].directory == tmp_path / "t" / "id0"


def test_counts() -> None:
    states = ["done", "done", "failed", "running", "interrupted", "new", "queued"]
    assert str(Counts.of(map(RunState, states))) == "2 done, 1 running, 1 failed, 3 left"


def test_what_a_process_died_of() -> None:
    assert reason_of_death(-9) == "killed by SIGKILL (out of memory?)"
    assert reason_of_death(-11) == "killed by SIGSEGV"
    assert reason_of_death(0) == "the process ended with exit code 0 and no result"


def test_the_end_of_a_log(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") is None
    (tmp_path / "log").write_text("\n".join(map(str, range(100))))
    assert str(tail(tmp_path / "log")).splitlines() == [str(n) for n in range(80, 100)]


def test_a_slot_has_its_threads_and_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "9")
    assert Slot(threads=3, gpu=1).environment()["CUDA_VISIBLE_DEVICES"] == "1"
    assert Slot(threads=3, gpu=1).environment()["OMP_NUM_THREADS"] == "3"
    assert Slot().environment()["CUDA_VISIBLE_DEVICES"] == "9"
