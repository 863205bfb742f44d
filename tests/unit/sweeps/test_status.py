"""How far runs and sweeps are, from their files: items done and failed, of how many, and the time left."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from fuse_repro.runs.directory import RunDirectory
from fuse_repro.runs.standing import Standing, standing, together
from fuse_repro.runs.state import RunState
from fuse_repro.sweeps.status import main, run_view, table
from fuse_repro.sweeps.sweep import Point, Sweep

CONFIG = {"seed": 0, "output_dir": "anywhere"}


def begun(
    path: Path, total: int | None, done: int, failed: int = 0, seconds: float | None = 30.0
) -> RunDirectory:
    """A run at work in this process."""
    run = RunDirectory(path, CONFIG)
    run.open(device="cpu", weights={})
    if total is not None:
        run.expect(total)
    for number in range(done + failed):
        run.append({"id": f"i{number}", "status": "done" if number < done else "failed"}, seconds)
    return run


def shown(group: object) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(group)
    return console.export_text()


def test_a_run_at_work_tells_how_many_of_how_many_and_the_time_left(tmp_path: Path) -> None:
    run = begun(tmp_path, 500, 12, 2)
    view = run_view(tmp_path)
    assert f"{tmp_path}: running" in shown(view.shown).replace("\n", "")
    assert "items: 12 of 500, 2 failed; 2 a minute, about 4 h 3 min left" in shown(view.shown)
    assert (view.ended, view.failed) == (False, False)
    run.finish({})
    view = run_view(tmp_path)
    assert "items: 12 of 500, 2 failed\n" in shown(view.shown)
    assert (view.ended, view.failed) == (True, False)


def test_the_command_takes_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(tmp_path / "run", 3, 1, seconds=None)
    assert main([str(tmp_path / "run")]) == 0
    assert "items: 1 of 3\n" in capsys.readouterr().out
    run.fail(RuntimeError("no more"))
    assert main([str(tmp_path / "run"), "--once"]) == 1
    said = capsys.readouterr().out
    assert "failed" in said
    assert "RuntimeError: no more" in said
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2
    printed = capsys.readouterr().err
    assert "give the directory of a run or a sweep" in printed
    assert printed.count("\n") == 1


def test_a_run_of_an_earlier_version_has_no_total(tmp_path: Path) -> None:
    begun(tmp_path, None, 4, seconds=None)
    assert standing(tmp_path) == Standing(4, 0)
    assert "items: 4\n" in shown(run_view(tmp_path).shown)


def test_a_total_that_was_edited_is_damage_and_no_crash(tmp_path: Path) -> None:
    run = begun(tmp_path, 5, 1)
    run.interrupt(KeyboardInterrupt())
    status = json.loads((tmp_path / "status.json").read_text()) | {"items": "many"}
    (tmp_path / "status.json").write_text(json.dumps(status))
    assert standing(tmp_path).total is None
    assert "items is 'many'" in shown(run_view(tmp_path).shown)


@pytest.mark.parametrize("items", [-1, 10**400, 10**15])
def test_a_total_that_cannot_be_is_none(items: int, tmp_path: Path) -> None:
    begun(tmp_path, 5, 1)
    status = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps(status | {"items": items}))
    assert standing(tmp_path).total is None


def test_a_sweep_has_totals_and_a_time_left_shared_among_its_workers(tmp_path: Path) -> None:
    begun(tmp_path / "a", 10, 10).finish({})
    begun(tmp_path / "b", 10, 4)
    begun(tmp_path / "c", 10, 3, 1)
    points = {name: Point(name, tmp_path / name, {"seed": name}) for name in ("a", "b", "c", "d")}
    sweep = Sweep(tmp_path, "id", "captions", [], points=points)
    states = {"a": "done", "b": "running", "c": "running", "d": "new"}
    text = shown(table(sweep, {key: RunState(state) for key, state in states.items()}))
    assert "captions: 1 done, 2 running, 0 failed, 1 left, of 4 points" in text
    # 22 items are left, 10 of them of the point that has not begun; two workers, 30 s each
    assert "items: 17 of 40, 1 failed; 4 a minute, about 6 min left" in text
    (row,) = [line for line in text.splitlines() if "seed=b" in line]
    assert "4 of 10" in row
    assert "3 min" in row


def test_several_runs_as_one() -> None:
    runs = [Standing(2, 0, 4, 10.0), Standing(0, 1, 6, 20.0), Standing(0, 0)]
    assert together(runs) == Standing(2, 1, 15, 15.0)
    assert together(runs, workers=3).seconds == 5.0
    assert together([Standing(1, 0)]) == Standing(1, 0)
