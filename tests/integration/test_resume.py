"""Failed items are tried again by the same command."""

import json
from pathlib import Path

import pytest

from fuse_repro.cli import main
from fuse_repro.runs.directory import read_records


def test_a_photo_that_was_mended_is_captioned_by_the_same_command(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    whole = (photos / "green.png").read_bytes()
    command = [*tiny_overrides, f"dataset.path={photos}", f"output_dir={tmp_path / 'run'}"]
    (photos / "green.png").write_bytes(whole[:60])
    assert main(command) == 3
    assert main([*command, "resume=skip_done"]) == 3
    before = (tmp_path / "run" / "records.jsonl").read_bytes()
    assert main(command) == 3
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == before, "it failed again just as before"
    (photos / "green.png").write_bytes(whole)
    assert main([*command, "resume=skip_done"]) == 3
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == before
    assert main(command) == 0
    assert main([*command[:-1], f"output_dir={tmp_path / 'undisturbed'}"]) == 0
    assert read_records(tmp_path / "run") == read_records(tmp_path / "undisturbed")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["items"] == {"done": 3, "failed": 0}
