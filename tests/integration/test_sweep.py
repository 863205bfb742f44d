"""Sweeps on this machine: what goes wrong in one point stays there, and the same command mends it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from drills import CONFIGS, drill, records, result, states, the_sweep

from fuse_repro.cli import main
from fuse_repro.runs.directory import read_records

FAULTS = "runner.fault=none,exception,usage,exit,quiet_exit,kill,memory,item"


def test_faults_stay_where_they_are_and_the_same_command_mends_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = drill(tmp_path / "disturbed", FAULTS, "runner.once=true")
    assert main([*command, "hydra.launcher.workers=2", "hydra.launcher.gpus=[5,7]"]) == 1
    printed = capsys.readouterr().err
    assert "2 done, 0 running, 6 failed, 0 left" in printed
    ended = states(tmp_path / "disturbed")
    assert {fault for fault, state in ended.items() if state == "done"} == {"none", "item"}
    errors = {
        point.overrides["runner.fault"]: point.state
        for point in the_sweep(tmp_path / "disturbed").points.values()
    }
    assert errors["kill"].error == "killed by SIGKILL (out of memory?)"
    assert errors["exit"].error == "SystemExit: the drill's exit"
    assert errors["usage"].error == "the drill's mistake"
    assert "MemoryError" in str(errors["memory"].error)
    assert "exit code 0" in str(errors["quiet_exit"].error)
    assert result(tmp_path / "disturbed", "runner.fault", "none")["environment"]["gpu"] in ("5", "7")

    assert main(command) == 0
    assert "1 points are left as they are" in capsys.readouterr().err, "only the one without any fault"
    undisturbed = drill(tmp_path / "serial", FAULTS, "runner.at=-1", "hydra.launcher.in_process=true")
    assert main(undisturbed) == 0
    ours, serial = records(tmp_path / "disturbed"), records(tmp_path / "serial")
    assert len(ours) == 8
    (expected,) = {json.dumps(rows) for rows in serial.values()}
    assert {json.dumps(rows) for rows in ours.values()} == {expected}

    everything = {
        p: p.stat().st_mtime_ns
        for p in (tmp_path / "disturbed").rglob("*/*.json*")
        if p.name != "report.html"
    }
    assert main(command) == 0
    assert "8 points are left as they are" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in everything} == everything


def test_each_policy_of_resume(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = drill(
        tmp_path, "runner.fault=none,exception,item", "runner.once=true", "hydra.launcher.in_process=true"
    )
    assert main(command) == 1
    before = records(tmp_path)
    assert main([*command, "resume=skip_done"]) == 1
    assert records(tmp_path) == before
    assert main(command) == 0
    assert all(row["status"] == "done" for rows in records(tmp_path).values() for row in rows)
    once = sum(len(path.read_bytes().splitlines()) for path in tmp_path.rglob("records.jsonl"))
    assert once == 10, "three records a point, and one that was tried again"
    assert main([*command, "resume=all"]) == 0
    twice = sum(len(path.read_bytes().splitlines()) for path in tmp_path.rglob("records.jsonl"))
    assert twice == 19
    assert sum(len(rows) for rows in records(tmp_path).values()) == 9
    assert main([*command, "resume=maybe"]) == 2
    assert "resume='maybe' is not allowed: one of skip_done" in capsys.readouterr().err


def test_a_sweep_is_found_again_whatever_the_order_of_its_words(tmp_path: Path) -> None:
    extra = ["hydra.launcher.in_process=true", "runner.count=1"]
    assert main(drill(tmp_path, "seed=0,1", "runner.scale=1.0,2.0", *extra)) == 0
    assert main(drill(tmp_path, *extra, "runner.scale=2.0,1.0", "seed=1,0", "hydra.launcher.workers=1")) == 0
    sweep = the_sweep(tmp_path)
    assert len(sweep.points) == 4
    content = json.loads((sweep.directory / "sweep.json").read_text())
    assert content["axes"] == {"seed": [0, 1], "runner.scale": [1.0, 2.0]}
    assert {row["directory"] for row in content["points"]} == set(sweep.points)
    assert (sweep.directory / "report.html").exists()


def test_batches_all_run(tmp_path: Path) -> None:
    extra = ["hydra.sweeper.max_batch_size=1", "hydra.launcher.in_process=true"]
    assert main(drill(tmp_path, "runner.fault=exception,none", *extra)) == 1
    assert states(tmp_path) == {"exception": "failed", "none": "done"}


def test_kill_9_of_the_parent_takes_the_points_along_and_loses_nothing(tmp_path: Path) -> None:
    command = drill(tmp_path / "killed", "seed=0,1,2,3", "runner.seconds=0.3", "hydra.launcher.workers=2")
    process = subprocess.Popen(
        [sys.executable, "-m", "fuse_repro.cli", *command], stderr=subprocess.DEVNULL, env=_environment()
    )
    begun = _wait_for(tmp_path / "killed", "records.jsonl")
    process.kill()
    process.wait()
    pid = json.loads((begun.parent / "status.json").read_text())["pid"]
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    assert "running" not in states(tmp_path / "killed", "seed").values()
    faster = drill(tmp_path / "killed", "seed=0,1,2,3", "runner.seconds=0.3")
    assert main(faster) == 0
    assert main(drill(tmp_path / "serial", "seed=0,1,2,3", "hydra.launcher.in_process=true")) == 0
    ours, serial = records(tmp_path / "killed"), records(tmp_path / "serial")
    assert sorted(map(json.dumps, ours.values())) == sorted(map(json.dumps, serial.values()))


def test_a_sweep_at_work_is_not_entered_twice_and_can_be_told_to_stop(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    slow = ["runner.seconds=0.5", "runner.count=60"]
    command = drill(tmp_path, "seed=0,1", *slow, "hydra.launcher.in_process=true")
    process = forked.start(command, tmp_path / "said.txt", tmp_path)
    begun = _wait_for(tmp_path, "records.jsonl").parent
    alone = [f"--config-dir={CONFIGS}", "experiment=drill", *slow, f"output_dir={begun}"]
    assert main(alone) == 1
    assert f"another process (pid {process.pid} on" in capsys.readouterr().err
    process.terminate()
    process.join()
    printed = (tmp_path / "said.txt").read_text()
    assert process.exitcode == 143
    assert "interrupted; the same command goes on" in printed
    assert "Traceback" not in printed
    assert set(states(tmp_path, "seed").values()) == {"interrupted", "new"}
    assert main(["status", "--once", str(the_sweep(tmp_path).directory)]) == 0


def test_ctrl_c_in_a_loop_of_lightning_leaves_a_run_that_goes_on(
    tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    slow = ["optimizer.max_new_tokens=6", "optimizer.candidates=32"]
    command = [*tiny_overrides, *slow, f"dataset.path={photos}", f"output_dir={tmp_path / 'run'}"]
    process = forked.start(command, tmp_path / "said.txt", tmp_path)
    _wait_for(tmp_path / "run", "records.jsonl")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join()
    printed = (tmp_path / "said.txt").read_text()
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    if process.exitcode == 0:
        pytest.skip("the run was quicker than the signal")
    assert process.exitcode == 130
    assert status["state"] == "interrupted"
    assert "Traceback" not in printed
    assert main(command) == 0
    assert [row["id"] for row in read_records(tmp_path / "run")] == ["blue", "green", "red"]


def test_status_counts_and_tells_failure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    extra = ["hydra.launcher.in_process=true", "runner.count=2"]
    assert main(drill(tmp_path, "runner.fault=exception,none", *extra)) == 1
    capsys.readouterr()
    directory = str(the_sweep(tmp_path).directory)
    assert main(["status", directory, "--once"]) == 1
    shown = capsys.readouterr().out
    assert "1 done, 0 running, 1 failed, 0 left" in shown
    assert "runner.fault=exception" in shown
    assert main(["status", str(tmp_path), "--once"]) == 2
    assert "is not the directory of a sweep" in capsys.readouterr().err


def test_completion_knows_the_named_grids() -> None:
    line = "fuse-repro -m sweep="
    environment = _environment() | {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = subprocess.run(
        [sys.executable, "-m", "fuse_repro.cli", "-sc", "query=bash"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert {"sweep=anchors", "sweep=max_tokens", "sweep=prompt_length", "sweep=candidates"} <= set(
        done.stdout.split()
    )


def _environment() -> dict[str, str]:
    tests = str(Path(__file__).parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}


def _wait_for(root: Path, name: str) -> Path:
    """The first file of this name with something in it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in root.rglob(name):
            if path.stat().st_size:
                return path
        time.sleep(0.05)
    raise AssertionError(f"no {name} after two minutes")
