"""What a finished run prints."""

import json
from pathlib import Path
from typing import Any

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
    assert "broken" not in text


def test_other_runs_are_left_to_their_page(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"runner": "fidelity"}')
    assert outcome(tmp_path) is None
