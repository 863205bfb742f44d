"""The summary of a table of prompts: right answers of every row on every model, and the differences of rows."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from fuse_repro.metrics.statistics import Interval, nested_interval
from fuse_repro.runners.search.module import done_records

Record = Mapping[str, Any]
MEAN = "mean"


def summary(
    records: Sequence[Record], searched_with: Mapping[str, Sequence[str]], searched: Sequence[str]
) -> dict[str, Any]:
    """What results.json holds of the records of the table.

    Every mean counts each task once; intervals resample tasks, and seeds within them.

    Args:
        records: one for every row, task and seed.
        searched_with: row -> the models that its prompts were searched with.
        searched: the models that any row is searched with: MEAN is over these.

    Raises:
        UsageError: no record is done.
    """
    done = done_records(records, "no cell of the table could be filled")
    rows: dict[str, list[Record]] = {}
    for record in done:
        rows.setdefault(record["row"], []).append(record)
    return {
        "items": {"done": len(done), "failed": len(records) - len(done)},
        "searched": list(searched),
        "rows": {name: _row(own, searched) for name, own in rows.items()},
        "differences": _differences(rows, searched_with, searched),
    }


def _row(records: Sequence[Record], searched: Sequence[str]) -> dict[str, Any]:
    roles = dict.fromkeys(role for record in records for role in record["accuracy"])
    found = {
        role: _interval([(r["task"], r["accuracy"][role]) for r in records if role in r["accuracy"]])
        for role in roles
    }
    row: dict[str, Any] = {"accuracy": {role: vars(value) for role, value in found.items()}}
    both = [
        (r["task"], over(r, searched)) for r in records if all(role in r["accuracy"] for role in searched)
    ]
    if both:
        row["accuracy"][MEAN] = vars(_interval(both))
    flops = [record["cost"]["flops"] for record in records if record.get("cost")]
    return row | ({"flops": fmean(flops)} if flops else {})


def over(record: Record, roles: Sequence[str]) -> float:
    """The mean share of right answers over models."""
    return fmean(record["accuracy"][role] for role in roles)


def _interval(values: Sequence[tuple[str, float]]) -> Interval:
    groups: dict[str, list[float]] = {}
    for task, value in values:
        groups.setdefault(task, []).append(value)
    return nested_interval(list(groups.values()))


def _differences(
    rows: Mapping[str, Sequence[Record]],
    searched_with: Mapping[str, Sequence[str]],
    searched: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Rows of several models minus the best row of one, and minus each other: of the means over `searched`, paired."""
    values = {
        name: {(r["task"], r["seed"]): over(r, searched) for r in rows[name]}
        for name in searched_with
        if name in rows
    }
    single = [name for name in values if len(searched_with[name]) == 1]
    if not single:
        return {}
    best = max(single, key=lambda name: fmean(values[name].values()))
    several = [name for name in values if len(searched_with[name]) > 1]
    found = {}
    for first, second in [*((name, best) for name in several), *combinations(several, 2)]:
        shared = [cell for cell in values[first] if cell in values[second]]
        if shared:
            pairs = [(cell[0], values[first][cell] - values[second][cell]) for cell in shared]
            found[f"{first} - {second}"] = vars(_interval(pairs))
    return found
