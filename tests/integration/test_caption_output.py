"""A folder of photographs as people have it, from the command: what is left out, captions.json, and sidecars."""

import json
from pathlib import Path

import pytest
from conftest import make_photo

from fuse_repro.cli import main
from fuse_repro.data import photo as photo_files
from fuse_repro.data import photo_folder
from fuse_repro.runs.directory import read_json, read_records


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three photographs, one of them in a folder below; and what is none, or cannot be read here."""
    for module in (photo_files, photo_folder):
        monkeypatch.setattr(module, "can_read_heif", lambda: False)
    found = tmp_path / "mine"
    (found / "sub").mkdir(parents=True)
    for name, colour in (("12.png", "red"), ("7.avif", "green"), ("sub/009.tiff", "blue")):
        make_photo(found / name, colour)
    for name in ("._12.png", "b.HEIC", "clip.MOV", "notes.txt"):
        (found / name).write_bytes(b"x")
    return found


def beside(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.txt")}


def test_a_folder_as_it_is(
    tiny_overrides: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*tiny_overrides, f"dataset.path={folder}", "dataset.recursive=true"]
    run = tmp_path / "run"
    assert main([*command, "runner.sidecar=true", f"output_dir={run}"]) == 0
    printed = capsys.readouterr()
    assert f"not read in {folder}: 1 .heic, 1 .mov; allowed are .png" in printed.err
    assert "not read: 1 .heic, 1 .mov" in printed.out
    assert read_json(run / "results.json")["not_read"] == {".heic": 1, ".mov": 1}
    assert "Not read of the data: 1 .heic, 1 .mov." in (run / "report.html").read_text()
    captions = {row["id"]: " ".join(row["caption"].split()) for row in read_records(run)}
    assert list(captions) == ["12", "7", "009"]
    assert json.loads((run / "captions.json").read_text()) == [
        {"image_id": int(name), "caption": caption} for name, caption in captions.items()
    ]
    files = {
        "notes.txt": "x",
        "12.txt": f"{captions['12']}\n",
        "7.txt": f"{captions['7']}\n",
        "sub/009.txt": f"{captions['009']}\n",
    }
    assert beside(folder) == files

    # a killed run goes on: what it wrote is its own, and what is missing is written
    lines = (run / "records.jsonl").read_bytes()
    (run / "records.jsonl").write_bytes(b"".join(lines.splitlines(keepends=True)[:2]))
    for name in ("status.json", "results.json", "captions.json"):
        (run / name).unlink()
    for name in ("7.txt", "sub/009.txt"):
        (folder / name).unlink()
    assert main([*command, "runner.sidecar=true", f"output_dir={run}"]) == 0
    assert (run / "records.jsonl").read_bytes() == lines
    assert beside(folder) == files

    # another run does not replace them, and says so before it loads anything
    capsys.readouterr()
    assert main([*command, "runner.sidecar=true", "seed=1", f"output_dir={tmp_path / 'other'}"]) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "runner.sidecar" in line]
    assert said.startswith(f"fuse-repro: runner.sidecar=True: {folder}/12.txt and 2 more is there already")
    assert not (tmp_path / "other" / "records.jsonl").exists()
    assert beside(folder) == files

    # and shards of it come to the same
    (folder / "12.txt").unlink()
    sweep = ["-m", "sweep=shards", "dataset.shards=2", f"output_root={tmp_path / 'out'}"]
    shards = [*sweep, "hydra.launcher.in_process=true", "runner.sidecar=overwrite", *command]
    assert main(shards) == 0
    (merged,) = (tmp_path / "out").glob("*/sweep_*/merged")
    assert (merged / "captions.json").read_bytes() == (run / "captions.json").read_bytes()
    assert read_json(merged / "results.json")["not_read"] == {".heic": 1, ".mov": 1}
    assert beside(folder) == files
    (merged / "captions.json").unlink()
    assert main(["merge", str(merged.parent)]) == 0
    assert (merged / "captions.json").read_bytes() == (run / "captions.json").read_bytes()


@pytest.mark.parametrize("value", ["yes", "1", "null"])
def test_a_sidecar_that_there_is_not(
    value: str, tiny_overrides: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*tiny_overrides, f"dataset.path={folder}", f"output_dir={tmp_path / 'run'}"]
    assert main([*command, f"runner.sidecar={value}"]) == 1
    assert "runner.sidecar=" in (said := capsys.readouterr().err)
    assert "is not allowed: true or false or one of overwrite" in said
