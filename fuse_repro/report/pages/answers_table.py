"""The page of a table of prompts: right answers of every row on every model, and the prompts themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.report.formats import MISSING, Estimate, estimate, number, percent
from fuse_repro.report.pages.parts import Record, counts, split

TERA = 1e12
MEAN = "mean"


def is_answers_table(_records: Sequence[Record], results: Mapping[str, Any]) -> bool:
    """Whether these are the results of a table of prompts."""
    return results.get("runner") == "answers_table"


def answers_table_content(records: Sequence[Record], results: Mapping[str, Any]) -> dict[str, Any]:
    """The table rows x models, the differences between rows, and every prompt with what the models say."""
    done, failed = split(records)
    models, rows = results.get("models") or {}, results.get("rows") or {}
    searched = results.get("searched") or []
    columns = [*models, MEAN]
    ranked = sorted(rows.items(), key=lambda pair: -((pair[1]["accuracy"].get(MEAN) or {}).get("mean", -1.0)))
    names = [name if role in searched else f"{name} (unseen)" for role, name in models.items()]
    return {
        "tiles": counts(done, failed, "cells"),
        "head": ["row", *names, "mean of those searched with", "10¹² operations of a search"],
        "rows": [_row(name, row, columns) for name, row in ranked],
        "differences": [
            [name, estimate(found, 1, 100)] for name, found in (results.get("differences") or {}).items()
        ],
        "prompt_head": ["row, task, seed", "prompt", *names],
        "prompts": [_prompt(record, list(models)) for record in done if "text" in record],
        "samples": [_samples(record, models) for record in done if record.get("samples")],
        "failed": failed,
    }


def _row(name: str, row: Mapping[str, Any], columns: Sequence[str]) -> list[str | Estimate]:
    cost = row.get("flops")
    accuracy = [estimate(row["accuracy"].get(column), 1, 100) for column in columns]
    return [name, *accuracy, MISSING if cost is None else number(cost / TERA, 1)]


def _prompt(record: Record, roles: Sequence[str]) -> list[str]:
    return [record["id"], record["text"], *(percent(record["accuracy"].get(role)) for role in roles)]


def _samples(record: Record, models: Mapping[str, str]) -> dict[str, Any]:
    """What every model said to some items."""
    return {
        "title": f"{record['id']}: {record['template']}",
        "head": ["item", "right", *models.values()],
        "rows": [
            [row["text"], " or ".join(row["right"]), *(row["said"].get(role, MISSING) for role in models)]
            for row in record["samples"]
        ],
    }
