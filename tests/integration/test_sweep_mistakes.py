"""Sweeps that cannot be: one clear line, and nothing half-written."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from drills import drill, records, the_sweep
from small_disks import small_disk as mounted

from fuse_repro.cli import main

QUICK = ["hydra.launcher.in_process=true", "runner.count=1"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("runner.cuont=1,2", "did you mean runner.count?"),
        ("seed=0,many", "seed: Value 'many' of type 'str' could not be converted to Integer"),
        ("seed=range(0,0)", "the grid is empty: seed=range(0,0) has no value; give KEY=A,B,C or sweep=NAME"),
        ("seed=interval(0,1)", "does not support sweep type"),
        ("sweep=anchor", "did you mean anchors?"),
        ("sweep=anchors", "methods.relative.anchor_selection is no key of this run"),
        ("hydra/launcher=lsf", "hydra/launcher is one of local, slurm"),
        ("hydra.launcher.workers=0", "hydra.launcher.workers=0 is not allowed: at least 1"),
        ("hydra.launcher.workers=2", "in_process=True is not allowed: true only with one worker"),
        ("hydra.sweeper.max_batch_size=0", "hydra.sweeper.max_batch_size=0 is not allowed"),
        ("resume=never", "resume='never' is not allowed: one of skip_done, retry_failed, all"),
        ("hydra/sweeper=optuna", "hydra.sweeper.metrics"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, override: str, said: str
) -> None:
    assert main(drill(tmp_path, *QUICK, override)) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_that_cannot_resume(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(drill(tmp_path, "seed=0,1", "hydra/launcher=basic")) == 2
    assert "hydra/launcher=basic cannot resume a sweep: use local or slurm" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_slurm_where_there_is_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(drill(tmp_path, "seed=0,1", "hydra/launcher=slurm")) == 2
    assert "sbatch, srun, squeue, scontrol is not on this machine" in capsys.readouterr().err


def test_no_job_of_slurm_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert (
        main(drill(tmp_path, "seed=0,1", "hydra/launcher=slurm", "hydra.launcher.array_parallelism=0")) == 2
    )
    assert "array_parallelism=0 is not allowed: at least 1 job at once" in capsys.readouterr().err


def test_a_directory_of_something_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def attempt(*overrides: str) -> str:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert main(drill(tmp_path, *QUICK, f"sweep_dir={tmp_path / 'drill' / 'own'}", *overrides)) == 2
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        return capsys.readouterr().err

    assert main(drill(tmp_path, *QUICK, f"sweep_dir={tmp_path / 'drill' / 'own'}", "seed=0,1")) == 0
    capsys.readouterr()
    assert "holds another sweep (experiment=drill" in attempt("seed=0,1,2")
    assert "holds another sweep" in attempt("seed=0,1", "runner.scale=2.0")
    path = the_sweep(tmp_path).directory / "sweep.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"format": 99}))
    assert "has format 99, and this version reads format 1" in attempt("seed=0,1")
    path.write_text(json.dumps(content | {"versions": {"fuse_repro": "0.0.1"}}))
    assert "was begun by fuse_repro 0.0.1" in attempt("seed=0,1")
    path.write_text("{")
    assert "sweep.json is damaged" in attempt("seed=0,1")
    path.write_text(json.dumps(content | {"points": [{}]}))
    assert "sweep.json is damaged (KeyError('id'))" in attempt("seed=0,1")
    path.rename(path.with_name("manifest.json"))
    assert "holds a single run; choose another place with sweep_dir=..." in attempt("seed=0,1")
    path.with_name("manifest.json").rename(path.with_name("notes.txt"))
    assert "holds files that are no sweep's" in attempt("seed=0,1")


def test_a_place_that_cannot_be_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(drill(tmp_path / "file", *QUICK, "seed=0,1")) == 2
    printed = capsys.readouterr().err
    assert "Not a directory; choose another place with sweep_dir=..." in printed
    assert printed.count("\n") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 kB."""
    with mounted(tmp_path / "disk", "size=100k") as disk:
        yield disk


@pytest.mark.parametrize("in_process", ["true", "false"])
def test_a_full_disk_stops_the_sweep_and_loses_nothing(
    capsys: pytest.CaptureFixture[str], small_disk: Path, in_process: str
) -> None:
    command = drill(
        small_disk,
        "seed=0,1,2",
        "runner.count=30",
        "runner.padding=1000",
        f"hydra.launcher.in_process={in_process}",
    )
    assert main(command) in (1, 2)
    printed = capsys.readouterr().err
    assert "No space left on device; choose" in printed
    assert "Traceback" not in printed
    for path in small_disk.rglob("*.json"):
        json.loads(path.read_text())
    kept = {key: len(rows) for key, rows in records(small_disk).items()}
    assert 0 < sum(kept.values()) < 90
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert main(command) == 0
    assert [len(rows) for rows in records(small_disk).values()] == [30, 30, 30]


def test_a_read_only_disk(capsys: pytest.CaptureFixture[str], small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert main(drill(small_disk, *QUICK, "seed=0,1")) == 2
    printed = capsys.readouterr().err
    assert "Read-only file system; choose another place with sweep_dir=..." in printed
    assert printed.count("\n") == 1
