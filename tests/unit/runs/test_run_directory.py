"""The run directory: atomic files, append-only records, resume, and errors a user can mend."""

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse_repro.errors import UsageError
from fuse_repro.runs import directory as run_directory
from fuse_repro.runs.directory import RunDirectory, read_records

CONFIG = {"seed": 0, "model": {"name": "tiny"}, "output_dir": "anywhere"}
WEIGHTS = {"tiny": {"model.safetensors": "0" * 64}}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run", CONFIG)
    directory.open(device="cpu", weights=WEIGHTS)
    return directory


def load(run: RunDirectory, name: str) -> dict:
    return json.loads((run.path / name).read_text())


def test_a_run_from_open_to_done(run: RunDirectory) -> None:
    manifest = load(run, "manifest.json")
    assert manifest["config"] == CONFIG
    assert manifest["config_hash"] == run.config_hash
    assert (manifest["seed"], manifest["device"], manifest["weights"]) == (0, "cpu", WEIGHTS)
    assert manifest["versions"]["torch"]
    status = load(run, "status.json")
    assert (status["state"], status["pid"]) == ("running", os.getpid())
    run.append({"id": "a", "objective": math.nan})
    run.append({"id": "b\n\u2028", "objective": 1.5})
    run.finish({"items": {"done": 2}})
    assert load(run, "status.json")["state"] == "done"
    assert load(run, "results.json") == {"items": {"done": 2}}
    expected = [{"id": "a", "objective": None}, {"id": "b\n\u2028", "objective": 1.5}]
    assert run.records() == read_records(run.path) == expected
    names = {path.name for path in run.path.iterdir()}
    assert names == {"manifest.json", "status.json", "records.jsonl", "results.json"}


def test_a_failed_run_says_why(run: RunDirectory) -> None:
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError as err:
        run.fail(err)
    status = load(run, "status.json")
    assert (status["state"], status["error"]) == ("failed", "RuntimeError: two lines")
    assert "test_run_directory.py" in status["traceback"]


def test_the_same_config_continues_and_keeps_records(run: RunDirectory) -> None:
    run.append({"id": "a"})
    created = (run.path / "manifest.json").read_bytes()
    again = RunDirectory(run.path, CONFIG | {"output_dir": "moved"})
    again.open(device="cpu", weights=WEIGHTS)
    assert (run.path / "manifest.json").read_bytes() == created
    assert again.records() == [{"id": "a"}]


def test_another_config_or_other_weights_are_refused(run: RunDirectory) -> None:
    with pytest.raises(UsageError, match="another config; choose another output_dir"):
        RunDirectory(run.path, CONFIG | {"seed": 1}).open(device="cpu", weights=WEIGHTS)
    with pytest.raises(UsageError, match="other weights of tiny; choose another output_dir"):
        RunDirectory(run.path, CONFIG).open(device="cpu", weights={"tiny": {"model.safetensors": "1" * 64}})


def test_two_runs_write_the_same_record_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("first", "second"):
        run = RunDirectory(tmp_path / name, CONFIG)
        run.open(device="cpu", weights=WEIGHTS)
        run.append({"id": "a", "terms": {"fluency": 1 / 3}})
        files.append((run.path / "records.jsonl").read_bytes())
    assert files[0] == files[1]


@given(cut=st.integers(1, 60), text=st.text(max_size=20))
def test_a_torn_last_line_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int, text: str) -> None:
    run = RunDirectory(tmp_path_factory.mktemp("torn"), CONFIG)
    run.append({"id": "whole"})
    intact = (run.path / "records.jsonl").stat().st_size
    run.append({"id": "torn", "text": text, "padding": "x" * 60})
    path = run.path / "records.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    size = path.stat().st_size
    assert read_records(run.path) == [{"id": "whole"}]
    assert path.stat().st_size == size, "reading alone must not touch the file"
    assert run.records() == [{"id": "whole"}]
    assert path.stat().st_size == intact
    run.append({"id": "next"})
    assert [record["id"] for record in run.records()] == ["whole", "next"]


def test_damage_in_the_middle_is_an_error(run: RunDirectory) -> None:
    (run.path / "records.jsonl").write_bytes(b'{"id": "a"}\n{"id": \n{"id": "c"}\n')
    with pytest.raises(UsageError, match=r"records\.jsonl is damaged at line 2"):
        run.records()
    (run.path / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match=r"manifest\.json is damaged"):
        RunDirectory(run.path, CONFIG).open(device="cpu", weights=WEIGHTS)


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot write .*file/run: .*; choose an output_dir") as caught:
        RunDirectory(tmp_path / "file" / "run", CONFIG).open(device="cpu", weights={})
    assert "\n" not in str(caught.value)


def test_a_full_disk_keeps_what_was_there(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    run.append({"id": "a"})
    before = {path: path.read_bytes() for path in run.path.iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_directory.os, "fsync", full)
    with pytest.raises(UsageError, match=r"records\.jsonl: No space left on device; choose an output_dir"):
        run.append({"id": "b"})
    with pytest.raises(UsageError, match=r"results\.json: No space left on device"):
        run.finish({"items": 1})
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before
