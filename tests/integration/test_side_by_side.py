"""Photographs that are searched for side by side leave what those one by one leave."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import caption_overrides, make_photos
from one_by_one import WholeTexts, row_by_row

from fuse_repro.cli import main
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.clip import ClipDualEncoder
from fuse_repro.runs.directory import RunDirectory


@pytest.fixture(scope="module")
def exact_models() -> Iterator[None]:
    """Models that every run loads read each row by itself."""
    begin = ClipDualEncoder.__init__

    def made(self: ClipDualEncoder, *arguments: Any, **keywords: Any) -> None:
        begin(self, *arguments, **keywords)
        row_by_row(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClipDualEncoder, "__init__", made)
        patch.setattr(CausalLM, "start", lambda self, ids: WholeTexts(self, ids))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("side_by_side")


@pytest.fixture(scope="module")
def command(tiny_models_folder: Path, folder: Path) -> list[str]:
    """Three photographs in the middle of which is a broken one; searches of up to five tokens, at six points each."""
    photos = make_photos(folder)
    (photos / "broken.png").write_text("no image")
    return [
        *caption_overrides(tiny_models_folder, folder / "cache"),
        f"dataset.path={photos}",
        "optimizer.max_new_tokens=5",
        "optimizer.patience=1",
        "runner.clip_score=vision",
    ]


@pytest.fixture(scope="module")
def alone(exact_models: None, command: list[str], folder: Path) -> Path:
    """The run of one photograph after another, which tests only read."""
    assert main([*command, "optimizer.together=1", f"output_dir={folder / 'alone'}"]) == 3
    return folder / "alone"


def results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text())
    assert found.pop("timing")["items_timed"] > 0
    return found


def test_records_and_results_are_the_same_to_the_last_bit(
    alone: Path, command: list[str], tmp_path: Path
) -> None:
    """With a photograph that cannot be read, searches of different lengths, and a last group that is not full."""
    records = [json.loads(line) for line in (alone / "records.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["done", "failed", "done", "done"]
    for together in (2, 3):
        directory = tmp_path / f"by {together}"
        assert main([*command, f"optimizer.together={together}", f"output_dir={directory}"]) == 3
        assert (directory / "records.jsonl").read_bytes() == (alone / "records.jsonl").read_bytes()
        assert results(directory) == results(alone)


def test_a_group_that_was_stopped_goes_on_to_the_same_records(
    alone: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    directory, append, written = tmp_path / "stopped", RunDirectory.append, []

    def stop_at_the_third(self: RunDirectory, record: Any, seconds: float | None = None) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(record["id"])
        append(self, record, seconds)

    own = [*command, "optimizer.together=3", f"output_dir={directory}"]
    with monkeypatch.context() as stopped:
        stopped.setattr(RunDirectory, "append", stop_at_the_third)
        assert main(own) == 130
    assert len((directory / "records.jsonl").read_text().splitlines()) == 2
    assert main(own) == 3
    assert (directory / "records.jsonl").read_bytes() == (alone / "records.jsonl").read_bytes()
    assert results(directory) == results(alone)


def test_without_being_told_a_run_on_a_cpu_takes_one_after_another(
    alone: Path, command: list[str], tmp_path: Path
) -> None:
    assert main([*command, f"output_dir={tmp_path / 'run'}"]) == 3
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == (alone / "records.jsonl").read_bytes()


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "many", "true", "[2]"])
def test_another_number_is_one_line(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, given: str
) -> None:
    code = main([*command, f"optimizer.together={given}", f"output_dir={tmp_path / 'run'}"])
    printed = capsys.readouterr().err
    assert code in (1, 2)
    assert printed.count("\n") == 1
    assert re.search(
        r"optimizer\.together=.* is not allowed: a whole number (of at least 1, )?or null\n", printed
    )


def test_a_search_that_cannot_says_so_in_one_line(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    others = [one for one in command if not one.startswith("optimizer.")]
    own = ["optimizer=gcg", "+optimizer.together=2", f"output_dir={tmp_path / 'run'}"]
    assert main([*others, *own]) in (1, 2)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "together" in printed
