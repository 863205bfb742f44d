"""Output folders that cannot be: one clear line before anything is loaded, and nothing written elsewhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drills import drill, records
from small_disks import small_disk

from fuse_repro.cli import main

QUICK = ["hydra.launcher.in_process=true", "runner.count=1"]


def single(root: Path, *overrides: str) -> list[str]:
    """One run of a drill below `root`."""
    return [*drill(root, "runner.count=1")[1:], *overrides]


def attempt(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """What a command that must fail says, which is one line."""
    assert main(arguments) in (1, 2)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1, printed
    return printed


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder of a read-only file system."""
    with small_disk(tmp_path / "disk", "ro") as place:
        yield place


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_a_file_in_the_way_of_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("kept")
    for arguments in (single(tmp_path, f"output_dir={tmp_path / below}"), single(tmp_path / below)):
        assert "; choose an output_dir where no file is in the way" in attempt(capsys, arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_read_only_disk(capsys: pytest.CaptureFixture[str], read_only: Path) -> None:
    printed = attempt(capsys, single(read_only))
    assert "Read-only file system; choose an output_dir on a disk that is not read-only" in printed


def test_a_path_that_is_too_long(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    printed = attempt(capsys, single(tmp_path, f"output_dir={tmp_path / ('a' * 5000)}"))
    assert "File name too long; choose an output_dir with a shorter path" in printed


@pytest.mark.parametrize("value", ["", "''", "' '"])
def test_an_empty_folder_name_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    allowed = "is not allowed: name a folder, or leave it out"
    assert f"output_dir={value.strip(chr(39))!r} {allowed}" in attempt(
        capsys, single(tmp_path, f"output_dir={value}")
    )
    several = drill(tmp_path, *QUICK, "seed=0,1", f"sweep_dir={value}")
    assert f"sweep_dir={value.strip(chr(39))!r} {allowed}" in attempt(capsys, several)
    assert list(tmp_path.iterdir()) == []


def test_hydras_own_folder_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "give output_dir=DIR" in attempt(capsys, single(tmp_path, f"hydra.run.dir={tmp_path / 'x'}"))


def test_a_run_goes_where_it_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(single(tmp_path, "output_dir=below/run")) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["below"]
    assert (tmp_path / "below" / "run" / "results.json").exists()


@pytest.mark.parametrize(
    "left",
    [{".sweep.json.1-abcd.tmp": '{"form'}, {"sweep.json": ""}, {"sweep.json": '{"format": 1, "po'}, {}],
)
def test_a_first_write_of_a_sweep_that_was_cut_short(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, left: dict[str, str]
) -> None:
    directory = tmp_path / "drill" / "own"
    directory.mkdir(parents=True)
    for name, text in left.items():
        (directory / name).write_text(text)
        os.utime(directory / name, (0, 0))
    assert main(drill(tmp_path, *QUICK, "seed=0,1", f"sweep_dir={directory}")) == 0, capsys.readouterr().err
    assert [len(rows) for rows in records(tmp_path).values()] == [1, 1]
    assert not list(directory.glob(".*.tmp"))


KILLED = """
import os, sys
from fuse_repro.storage import files
before = files.os.{call}

def die(*arguments, **more):
    if "sweep.json" in "".join(map(str, [*arguments, os.listdir({directory!r})])):
        os.kill(os.getpid(), 9)
    return before(*arguments, **more)

files.os.{call} = die
from fuse_repro.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_kill_during_the_first_write_of_a_sweep(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, call: str
) -> None:
    directory = tmp_path / "drill" / "own"
    directory.mkdir(parents=True)
    command = drill(tmp_path, *QUICK, "seed=0,1", f"sweep_dir={directory}")
    program = KILLED.format(call=call, directory=str(directory))
    done = subprocess.run([sys.executable, "-c", program, *command], check=False)
    assert done.returncode == -9
    assert {path.suffix for path in directory.iterdir()} == {".tmp", ".lock"}, (
        "a lock that nobody holds never blocks"
    )
    assert main(command) == 0, capsys.readouterr().err
    assert [len(rows) for rows in records(tmp_path).values()] == [1, 1]
