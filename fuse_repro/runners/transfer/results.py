"""The summary of a prompt transfer: precision@1 of every method over tasks and seeds."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.metrics.statistics import nested_interval
from fuse_repro.models.metering import summed
from fuse_repro.tasks import Evaluation


def summary(records: Sequence[Mapping[str, Any]], split: str) -> dict[str, Any]:
    """Per method: mean precision@1 over tasks and seeds with a bootstrap interval over both; and what all cost.

    Raises:
        UsageError: no record is done.
    """
    done = [record for record in records if record["status"] == "done"]
    if not done:
        reason = records[0]["error"] if records else "no task was asked"
        raise UsageError(f"no cell of the table could be filled; the first error: {reason}")
    names = dict.fromkeys(record["method"] for record in done)
    return {
        "runner": "transfer",
        "split": split,
        "items": {"done": len(done), "failed": len(records) - len(done)},
        "methods": {name: _method([r for r in done if r["method"] == name]) for name in names},
        **summed(done),
    }


def _method(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over relations, each counting once, and its 95% interval (relations and seeds resampled)."""
    found = _over_tasks(cells, "accuracy")
    if all("accuracy_calibrated" in cell for cell in cells):
        found["calibrated"] = _over_tasks(cells, "accuracy_calibrated")
    return found


def _over_tasks(cells: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    by_task: dict[str, list[float]] = {}
    for cell in cells:
        by_task.setdefault(cell["task"], []).append(cell[key])
    found = nested_interval(list(by_task.values()))
    return {
        "mean_over_relations": found.mean,
        "low": found.low,
        "high": found.high,
        "tasks": {task: fmean(values) for task, values in by_task.items()},
    }


def answered(task: PromptTask, found: Evaluation) -> dict[str, Any]:
    """What a record says of a task's items; those that the model cannot answer in one token count as dropped."""
    calibrated = {} if found.calibrated is None else {"accuracy_calibrated": found.calibrated}
    return {
        "accuracy": found.accuracy,
        **calibrated,
        "loss": found.loss,
        "items": found.items,
        "candidates": found.candidates,
        "dropped": dict(task.dropped) | found.skipped,
    }
