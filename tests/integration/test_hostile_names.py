"""Names and captions that attack a terminal, a page or a spreadsheet: the whole command ends well and shows them."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest
from conftest import make_photo
from rich.console import Console

from fuse_repro import progress
from fuse_repro.cli import main
from fuse_repro.runs.directory import read_json, read_records

NAME = b"\xff[/x]\x1b.png"
ID, SHOWN = "\udcff[/x]\x1b", r"\udcff[/x]\x1b"
REFERENCE = "a \u202egreen photo[/bold]"
UNSAFE = ("\x1b", "\u202e", "\udcff")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A data set with such a name, and a caption whose letters are turned round."""
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = make_photo(folder / "plain.png", "green")
    try:
        photo.rename(os.fsdecode(os.fsencode(folder) + b"/" + NAME))
    except OSError:
        pytest.skip("this file system takes names of UTF-8 only")
    rows = [
        {"file": os.fsdecode(NAME), "captions": [REFERENCE, "a white circle"]},
        {"file": "gone[/x]\x1b.png", "id": "=1+1"},
    ]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_run_on_hostile_names_ends_well(
    hostile: Path,
    tiny_overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """[/x] in the name of a photograph ended the run as soon as its bar was drawn on a terminal."""
    monkeypatch.setattr(progress, "PATIENCE_S", -1.0)
    monkeypatch.setattr(
        progress, "Console", lambda file: Console(file=sys.stderr, force_terminal=True, width=200)
    )
    directory = tmp_path / "run"
    data = ["dataset=photos", f"dataset.path={hostile / 'list.jsonl'}", f"output_dir={directory}"]
    assert main([*tiny_overrides, *data]) == 3  # the second photograph is not there
    printed = capsys.readouterr()
    assert SHOWN in printed.out
    assert f"searching for {SHOWN}" in printed.err
    assert not any(letter in printed.out for letter in UNSAFE)

    good, gone = read_records(directory)
    assert (good["id"], good["status"], gone["id"], gone["status"]) == (ID, "done", "=1+1", "failed")
    assert good["references"] == [REFERENCE, "a white circle"]
    assert (directory / "records.jsonl").read_bytes().isascii()
    assert read_json(directory / "results.json")

    page = (directory / "report.html").read_text(encoding="utf-8")
    assert SHOWN in page
    assert r"a \u202egreen photo[/bold]" in page
    assert not any(letter in page for letter in UNSAFE)
    with (directory / "metrics.csv").open(encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [SHOWN, "'=1+1"]

    assert main(["report", str(directory)]) == 0
    before = (directory / "records.jsonl").read_bytes()
    assert main([*tiny_overrides, *data]) == 3
    assert (directory / "records.jsonl").read_bytes() == before


def test_a_folder_of_such_names_is_captioned_with_wandb(
    hostile: Path, tiny_overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / os.fsdecode(b"run\xff")
    data = ["dataset=photos", f"dataset.path={hostile}", f"output_dir={directory}"]
    assert main([*tiny_overrides, *data, "logger=wandb", "logger.mode=offline"]) == 0
    said = capsys.readouterr().err
    assert "Logger stopped" not in said
    assert r"run\udcff" in said
    assert read_records(directory)[0]["id"] == ID
    assert main(["report", str(directory)]) == 0
    assert r"run\udcff" in capsys.readouterr().out
