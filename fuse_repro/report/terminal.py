"""A run's outcome in the terminal: captions, or precision@1 of every method."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from fuse_repro.runs.directory import RESULTS, read_json, read_records

SHOWN = 20


def outcome(run_dir: Path) -> Table | None:
    """A table of what the finished run in `run_dir` found, or None where a page says it better.

    Raises UsageError where the run's files cannot be read.
    """
    results = read_json(run_dir / RESULTS)
    if results.get("runner") == "transfer":
        return _methods(results["methods"], results.get("split", "test"))
    if results.get("runner") == "captions":
        return _captions([record for record in read_records(run_dir) if record["status"] == "done"])
    return None


def _methods(methods: Mapping[str, Mapping[str, Any]], split: str) -> Table:
    tasks = list(dict.fromkeys(task for row in methods.values() for task in row["tasks"]))
    table = Table("method", title=f"precision@1 on the {split} split, in %")
    for heading in ("mean", "95% interval", *tasks):
        table.add_column(heading, justify="right")
    for name, row in methods.items():
        cells = [_percent(row["tasks"].get(task)) for task in tasks]
        interval = f"{_percent(row['low'])} to {_percent(row['high'])}"
        table.add_row(name, _percent(row["mean_over_relations"]), interval, *cells)
    return table


def _captions(records: Sequence[Mapping[str, Any]]) -> Table:
    left = len(records) - SHOWN
    table = Table("photograph", "caption", caption=f"and {left} more, in the report" if left > 0 else None)
    table.add_column("objective", justify="right")
    for record in records[:SHOWN]:
        table.add_row(str(record["id"]), record["text"], f"{record['objective']:.2f}")
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
