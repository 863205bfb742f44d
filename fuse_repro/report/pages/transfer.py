"""The page of a prompt transfer: precision@1 of every method on every task, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.report.formats import MISSING, limits, number, percent
from fuse_repro.report.pages.parts import Record, counts, split
from fuse_repro.report.plots.matching import matching_plots
from fuse_repro.report.plots.methods import methods_chart

CALIBRATED = "mean, answers' priors taken out"
CELLS = ["task / seed / method", "precision@1", "loss (nats)", "items", "candidates", "left out of the task"]


def is_transfer(records: Sequence[Record], _results: Mapping[str, Any]) -> bool:
    """Whether these are records of a prompt transfer."""
    return bool(records) and "method" in records[0]


def transfer_content(records: Sequence[Record], results: Mapping[str, Any]) -> dict[str, Any]:
    """Tiles, the table methods x tasks with its chart, the match of prompts, and every cell."""
    done, failed = split(records)
    return {
        "tiles": counts(done, failed, "cells"),
        "methods": _methods(results["methods"], done) if results.get("methods") else None,
        "split": results.get("split", "test"),
        "matching": matching_plots(done),
        "failed": failed,
        "head": CELLS,
        "cells": [_cell(record) for record in done],
    }


def _methods(methods: Mapping[str, Any], done: Sequence[Record]) -> dict[str, Any]:
    tasks = list(dict.fromkeys(record["task"] for record in done))
    labels = {record["task"]: record.get("label") or record["task"] for record in done}
    ranked = sorted(methods.items(), key=lambda pair: -pair[1]["mean_over_relations"])
    calibrated = any("calibrated" in row for row in methods.values())
    return {
        "chart": methods_chart(ranked),
        "head": [
            "method",
            "mean",
            "95% interval",
            *([CALIBRATED] if calibrated else []),
            *map(labels.get, tasks),
        ],
        "rows": [
            {
                "name": name,
                "mean": percent(row["mean_over_relations"]),
                "rest": [
                    limits(row, 1, 100) or MISSING,
                    *(
                        [percent((row.get("calibrated") or {}).get("mean_over_relations"))]
                        if calibrated
                        else []
                    ),
                    *(percent(row["tasks"].get(task)) for task in tasks),
                ],
            }
            for name, row in ranked
        ],
    }


def _cell(record: Record) -> list[Any]:
    loss, accuracy = number(record["loss"]), percent(record["accuracy"])
    return [record["id"], accuracy, loss, record["items"], record["candidates"], _dropped(record)]


def _dropped(record: Record) -> str:
    """Facts of the whole task that could not be used, and why."""
    reasons = [f"{count} {reason}" for reason, count in (record.get("dropped") or {}).items() if count]
    return ", ".join(reasons) or "none"
