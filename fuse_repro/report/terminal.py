"""A run's outcome in the terminal: captions, or precision@1 of every method, and what failed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fuse_repro.data.photo_folder import counted
from fuse_repro.report.formats import error, limits
from fuse_repro.runs.directory import RESULTS, read_json, read_records
from fuse_repro.shown import cell, shown

SHOWN, FAILURES_SHOWN = 20, 5
Record = Mapping[str, Any]


def outcome(run_dir: Path) -> RenderableType | None:
    """What the finished run in `run_dir` found as a table, and below it what failed and why.

    Args:
        run_dir: with results.json and records.jsonl.

    Returns:
        None where nothing failed and a page says it better.

    Raises:
        UsageError: where the run's files cannot be read.
    """
    results, records = read_json(run_dir / RESULTS), read_records(run_dir)
    parts: list[RenderableType] = []
    if results.get("runner") == "transfer":
        parts.append(_methods(results["methods"], results.get("split", "test")))
    if results.get("runner") == "move":
        parts.append(_moved(results))
    if results.get("runner") == "answers":
        parts.append(_answers([record for record in records if record["status"] == "done"]))
    if results.get("runner") == "answers_table":
        parts.append(_answers_table(results))
    if results.get("runner") == "captions":
        parts.append(_captions([record for record in records if record["status"] == "done"]))
    if results.get("runner") == "known_truth":
        parts.append(_known_truth(results["truths"]))
    if results.get("not_read"):
        parts.append(Text(shown(f"not read: {counted(results['not_read'])}"), style="bold"))
    parts += _failures([record for record in records if record.get("status") == "failed"], len(records))
    return Group(*parts) if parts else None


def _methods(methods: Mapping[str, Mapping[str, Any]], split: str) -> Table:
    tasks = list(dict.fromkeys(task for row in methods.values() for task in row["tasks"]))
    table = Table("method", title=cell(f"precision@1 on the {split} split, in %"))
    for heading in ("mean", "95% interval", *tasks):
        table.add_column(cell(heading), justify="right")
    for name, row in methods.items():
        cells = [_percent(row["tasks"].get(task)) for task in tasks]
        mean, interval = _percent(row["mean_over_relations"]), limits(row, 1, 100) or ""
        table.add_row(cell(name), mean, interval, *cells)
    return table


def _moved(results: Mapping[str, Any]) -> Table:
    table = Table("soft prompt", title=cell(f"{' + '.join(results['sources'])} to {results['target']}"))
    table.add_column("", justify="right")
    table.add_row("written to", cell(results["output"]))
    for place, nats in (results.get("felt") or {}).items():
        table.add_row(cell(f"nats that it changes the next word by, as {place}"), f"{nats:.3f}")
    if results.get("position") == "after_bos":
        table.add_row("how PEFT reads it", "tokenizer(text, add_special_tokens=False)")
    arrival = results.get("arrival")
    if arrival:
        table.add_row("held-out words that arrive at themselves, in %", _percent(arrival["recall"]))
    for name, found in (results.get("accuracy") or {}).items():
        table.add_row(cell(f"right {name}, in %"), _percent(found["mean_over_relations"]))
    return table


def _answers(records: Sequence[Record]) -> Table:
    """Every prompt, and how many answers are right by it on every model, or how surprised each is by a fixed text."""
    models: dict[str, str] = next((record["models"] for record in records), {})
    unseen: list[str] = next((record["unseen"] for record in records), [])
    fixed = any("said" in record for record in records)
    what = "nats per token of the target" if fixed else "right answers, in %: by the prompt (by the template)"
    table = Table("task", "prompt", title=cell(what))
    for role, name in models.items():
        table.add_column(cell(f"{name}, unseen" if role in unseen else name), justify="right")
    for record in records:
        table.add_row(cell(record["id"]), cell(record["text"]), *(_answer(record, role) for role in models))
    return table


def _answer(record: Record, role: str) -> str:
    """What became of a prompt on one model."""
    if "said" in record:
        return f"{record['said'][role]['nats']:.2f}"
    prompts = record["prompts"]
    own = _percent(prompts["found"][role]["accuracy"])
    return f"{own} ({_percent(prompts['manual'][role]['accuracy'])})" if "manual" in prompts else own


def _answers_table(results: Mapping[str, Any]) -> Table:
    """Every row on every model, in percent with intervals."""
    table = Table("row", title="right answers, in %")
    columns = [*results["models"], "mean"]
    for role in columns:
        table.add_column(cell(results["models"].get(role, "mean of those searched with")), justify="right")
    for name, row in results["rows"].items():
        found = [row["accuracy"].get(role) for role in columns]
        shown_as = [
            f"{_percent(one['mean'])} ({limits(one, 1, 100) or 'alone'})" if one else "" for one in found
        ]
        table.add_row(cell(name), *shown_as)
    return table


def _known_truth(truths: Mapping[str, Mapping[str, Any]]) -> Table:
    """How far every map's gradient and soft prompt are from every truth, without noise."""
    table = Table("map", title="relative error of the gradient, and of the soft prompt, without noise")
    for truth in truths:
        table.add_column(cell(truth), justify="right")
    for method in dict.fromkeys(name for found in truths.values() for name in found["base"]):
        rows = [found["base"].get(method) or {} for found in truths.values()]
        table.add_row(cell(method), *(_errors(row) for row in rows))
    return table


def _errors(row: Mapping[str, Any]) -> str:
    shown_as = (error(row.get(key)) for key in ("gradient", "prompt"))
    return ", ".join(one if isinstance(one, str) else one.mean for one in shown_as)


def _captions(records: Sequence[Record]) -> Table:
    left = len(records) - SHOWN
    table = Table("photograph", "caption", caption=f"and {left} more, in the report" if left > 0 else None)
    table.add_column("objective", justify="right")
    for record in records[:SHOWN]:
        table.add_row(cell(record["id"]), cell(record["text"]), f"{record['objective']:.2f}")
    return table


def _failures(failed: Sequence[Record], total: int) -> list[Text]:
    """How many of the items failed, a line for each of the first ones, and how many more there are."""
    if not failed:
        return []
    lines = [Text(f"{len(failed)} of {total} failed:", style="bold red")]
    for record in failed[:FAILURES_SHOWN]:
        reason = record.get("error") or "no reason was recorded"
        lines.append(
            Text.assemble("  ", (str(cell(record.get("id", "an item"))), "bold"), ": ", cell(reason))
        )
    left = len(failed) - FAILURES_SHOWN
    return [*lines, Text(f"  and {left} more, in the report")] if left > 0 else lines


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
