"""Sweeps that several commands begin, that a kill interrupts, and whose files somebody has damaged."""

import json
import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fuse_repro.errors import UsageError
from fuse_repro.report import build_sweep_report
from fuse_repro.report.command import main as report
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.runs.state import mark_killed, run_state, wanted
from fuse_repro.sweeps.status import main as status
from fuse_repro.sweeps.sweep import Point, Sweep, open_sweep, read_sweep

FILES = ("status.json", "manifest.json", "records.jsonl", "results.json")
DAMAGE = {"truncated": b'{"state": "do', "garbage": b"\x00\xff\xfe{\n", "a list": b"[1]\n", "empty": b""}
LEFT_BY_A_KILL = [("records.jsonl", "truncated"), ("records.jsonl", "empty")]  # no damage
DAMAGED = [(name, kind) for name in FILES for kind in DAMAGE if (name, kind) not in LEFT_BY_A_KILL]


def point(sweep: Sweep, name: str) -> Point:
    return Point(name, sweep.directory / name, {"seed": name})


def finished(path: Path, count: int = 3) -> None:
    run = RunDirectory(path, {"name": "demo", "seed": 0})
    run.open(device="cpu", weights={})
    for number in range(count):
        run.append(
            {"id": f"item{number}", "status": "done", "text": "a cat", "objective": 1.0, "prefix": "a"}
        )
    run.finish({"runner": "captions", "metrics": None})


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Three points, all done."""
    made = open_sweep(tmp_path / "s", "one", "demo", ["seed=a,b,c"])
    made.add([point(made, name) for name in "abc"])
    for name in "abc":
        finished(made.directory / name)
    return made


def test_grids_that_begin_at_once_keep_all_their_points(tmp_path: Path) -> None:
    """Both have found the directory free before either writes."""
    grids = [open_sweep(tmp_path / "s", name, "demo", [f"seed={name}"]) for name in ("one", "two")]
    for grid in grids:
        grid.add([point(grid, f"{grid.id}{number}") for number in range(2)])
    assert list(read_sweep(tmp_path / "s").points) == ["one0", "one1", "two0", "two1"]
    for grid in grids:
        again = open_sweep(tmp_path / "s", grid.id, "demo", [])
        assert list(again.points) == [f"{grid.id}{number}" for number in range(2)]
        assert (again.id, again.overrides) == (grid.id, [f"seed={grid.id}"])
        again.add([point(again, f"{grid.id}more")])
    assert len(read_sweep(tmp_path / "s").points) == 6
    with pytest.raises(UsageError, match="holds another sweep"):
        open_sweep(tmp_path / "s", "three", "demo", [])


def _begin(directory: Path, identity: str, barrier: threading.Barrier) -> None:
    grid = open_sweep(directory, identity, "demo", [])
    barrier.wait()
    for number in range(20):
        grid.add([point(grid, f"{identity}{number}")])


def test_processes_that_write_together_lose_no_point(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    processes = [
        context.Process(target=_begin, args=(tmp_path / "s", name, barrier)) for name in ("a", "b", "c", "a")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    expected = {f"{name}{number}" for name in "abc" for number in range(20)}
    assert set(read_sweep(tmp_path / "s").points) == expected


@pytest.mark.parametrize("left", ["", '{"format": 1, "id": "o', None])
def test_a_killed_first_write_is_begun_anew(tmp_path: Path, left: str | None) -> None:
    directory = tmp_path / "s"
    directory.mkdir()
    (directory / ".sweep.json.123.tmp").write_text('{"form')
    if left is not None:
        (directory / "sweep.json").write_text(left)
    begun = open_sweep(directory, "one", "demo", [])
    begun.add([point(begun, "a")])
    assert list(read_sweep(directory).points) == ["a"]
    assert not list(directory.glob("*.tmp"))


def test_a_damaged_list_of_points_is_not_overwritten(sweep: Sweep) -> None:
    (sweep.directory / "sweep.json").write_text("{")
    with pytest.raises(UsageError, match=r"sweep\.json is damaged"):
        open_sweep(sweep.directory, "one", "demo", [])
    sweep.points.clear()
    with pytest.raises(UsageError, match=r"sweep\.json is damaged"):
        sweep.add([point(sweep, "d")])
    assert (sweep.directory / "sweep.json").read_text() == "{"


@pytest.mark.parametrize(("name", "kind"), DAMAGED)
def test_a_damaged_point_is_one_failed_point(
    sweep: Sweep, name: str, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    (sweep.directory / "b" / name).write_bytes(DAMAGE[kind])
    state = run_state(sweep.directory / "b")
    assert state.state == "failed"
    assert f"{name} is damaged" in str(state.error)
    assert wanted(sweep.directory / "b", "retry_failed")
    assert not wanted(sweep.directory / "b", "skip_done")
    assert status([str(sweep.directory), "--once"]) == 1
    printed = capsys.readouterr().out
    assert "2 done, 0 running, 1 failed, 0 left" in printed
    assert f"{name} is damaged" in printed
    assert report([str(sweep.directory)]) == 0
    page = (sweep.directory / "report.html").read_text()
    assert f"{name} is damaged" in page
    assert page.count('<span class="state done">') == 2
    mark_killed(sweep.directory / "b", "killed")


@pytest.mark.parametrize(
    ("change", "said", "kept"),
    [
        (lambda content: "{", "sweep.json is damaged", {"a", "b", "c"}),
        (
            lambda content: json.dumps(content | {"points": [*content["points"][:2], 7]}),
            "damaged (TypeError",
            {"a", "b", "c"},
        ),
        (
            lambda content: json.dumps(
                content | {"points": [*content["points"], {"id": "x", "directory": "../x", "overrides": {}}]}
            ),
            "at its point 4",
            {"a", "b", "c"},
        ),
        (lambda content: json.dumps(content | {"name": 3, "versions": []}), "name is 3", {"a", "b", "c"}),
        (lambda content: json.dumps(content | {"overrides": [1, None]}), "", {"a", "b", "c"}),
    ],
)
def test_a_hand_edited_list_of_points_is_shown_as_far_as_it_goes(
    sweep: Sweep,
    change: Callable[[dict], str],
    said: str,
    kept: set[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    path = sweep.directory / "sweep.json"
    path.write_text(change(json.loads(path.read_text())))
    assert set(read_sweep(sweep.directory).points) == kept
    assert status([str(sweep.directory), "--once"]) == 0
    printed = capsys.readouterr().out
    assert "3 done, 0 running, 0 failed" in printed
    assert said in printed
    assert report([str(sweep.directory)]) == 0
    assert said in capsys.readouterr().err
    page = build_sweep_report(sweep.directory).read_text()
    assert ("Not everything can be read" in page) == bool(said)


def test_a_damaged_list_of_jobs_does_not_end_status(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep.directory / "slurm_jobs.json").write_text("{")
    assert status([str(sweep.directory), "--once"]) == 0
    assert "slurm_jobs.json" in capsys.readouterr().out.replace("\n", "")  # a long path is wrapped
