"""What a finished run prints."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fuse_repro.report.terminal import outcome


def printed(folder: Path, results: dict[str, Any], records: list[dict[str, Any]]) -> str:
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    console = Console(width=120)
    table = outcome(folder)
    assert table is not None
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_every_method_has_its_mean_interval_and_tasks(tmp_path: Path) -> None:
    row = {"mean_over_relations": 0.5, "low": 0.25, "high": 0.75, "tasks": {"P30": 0.125, "P36": 0.875}}
    other = row | {"tasks": {"P36": 1.0}}
    text = printed(tmp_path, {"runner": "transfer", "methods": {"fuse": row, "ridge": other}}, [])
    lines = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert all(part in lines["fuse"] for part in ("50.0", "25.0 to 75.0", "12.5", "87.5"))
    assert "100.0" in lines["ridge"]
    assert "12.5" not in lines["ridge"]


def test_captions_are_shown_with_their_objective_and_failures_are_not(tmp_path: Path) -> None:
    done = [
        {"id": f"photo{number}", "status": "done", "text": "An image of a cat.", "objective": 7.25}
        for number in range(22)
    ]
    text = printed(tmp_path, {"runner": "captions"}, [*done, {"id": "broken", "status": "failed"}])
    assert "photo19" in text
    assert "photo20" not in text
    assert "and 2 more" in text
    assert "An image of a cat." in text
    assert "7.25" in text
    shown, _, failures = text.partition("1 of 23 failed:")
    assert "broken" not in shown
    assert failures.split() == ["broken:", "no", "reason", "was", "recorded"]


def test_a_method_without_an_interval_shows_its_mean_alone(tmp_path: Path) -> None:
    row = {"mean_over_relations": 1.0, "low": None, "high": None, "tasks": {"P30": 1.0}}
    text = printed(tmp_path, {"runner": "transfer", "methods": {"fuse": row}}, [])
    (line,) = [line for line in text.splitlines() if line.startswith("│")]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == ["fuse", "100.0", "", "100.0"]


@pytest.mark.parametrize(
    "runner", ["captions", "caption_sentiment", "fidelity", "transfer", "invert", "maps"]
)
def test_every_kind_of_run_ends_with_what_failed_and_why(runner: str, tmp_path: Path) -> None:
    failed = [
        {"id": f"item{n}", "status": "failed", "error": f"cannot be read: reason {n}"} for n in range(7)
    ]
    done = {"id": "good", "status": "done", "text": "An image of a cat.", "objective": 7.25}
    text = printed(tmp_path, {"runner": runner, "methods": {}}, [done, *failed])
    lines = [line.strip() for line in text[text.index("7 of 8 failed:") :].splitlines()]
    assert lines[1:6] == [f"item{n}: cannot be read: reason {n}" for n in range(5)]
    assert lines[6:] == ["and 2 more, in the report"]


def test_names_and_messages_are_no_markup(tmp_path: Path) -> None:
    """A closing tag without its opening one would stop the run at its end."""
    odd = "a[/x][bold]\x1b[31m\udcff\n.jpg"
    shown = r"a[/x][bold]\x1b[31m\udcff .jpg"
    done = {"id": odd, "status": "done", "text": odd, "objective": 7.25}
    failed = {"id": f"not {odd}", "status": "failed", "error": odd}
    text = printed(tmp_path, {"runner": "captions"}, [done, failed])
    assert text.count(shown) == 4
    assert "\x1b[31m" not in text
    row = {"mean_over_relations": 0.5, "low": 0.25, "high": 0.75, "tasks": {odd: 0.125}}
    text = printed(tmp_path, {"runner": "transfer", "methods": {odd: row}, "split": odd}, [])
    assert text.count("[/x]") == 3


def test_other_runs_are_left_to_their_page(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"runner": "fidelity"}')
    assert outcome(tmp_path) is None
