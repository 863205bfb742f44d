"""The tables of a run: errors along every axis, and where each map breaks first."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.runners.known_truth.points import AXES, Plan

Record = Mapping[str, Any]
Table = dict[str, dict[str, Any]]
LEAST = 1e-16  # an error of 0, for logarithms
NUMBERS = ("map", "gradient", "cosine", "scores")


def summary(records: Sequence[Record], plan: Plan) -> dict[str, Any]:
    """Counts, and for every truth its tables. Errors of several seeds are geometric means; low and high the extremes.

    Raises:
        UsageError: nothing could be measured.
    """
    done = [record for record in records if record["status"] == "done"]
    if not done:
        raise UsageError(
            f"nothing could be measured: {records[0]['error'] if records else 'there are no places'}"
        )
    return {
        "runner": "known_truth",
        "items": {"done": len(done), "failed": len(records) - len(done)},
        "base": asdict(plan.base),
        "within": plan.within,
        "broken": plan.broken,
        "truths": {
            name: {"settings": asdict(truth)} | of_truth([one for one in done if one["truth"] == name], plan)
            for name, truth in plan.truths.items()
        },
    }


def of_truth(records: Sequence[Record], plan: Plan) -> dict[str, Any]:
    """`axes`: axis -> value -> map -> errors; `classes` and `lengths` of the base; `breaks`: map -> axis -> value."""
    base = asdict(plan.base)
    at_base = [record for record in records if all(record[axis] == base[axis] for axis in AXES)]
    axes = {}
    for axis in plan.axes:
        along = [
            record
            for record in records
            if all(record[other] == base[other] for other in AXES if other != axis)
        ]
        values = sorted({record[axis] for record in along}, key=lambda value: (isinstance(value, str), value))
        axes[axis] = {
            str(value): overall([record for record in along if record[axis] == value], plan.within)
            for value in values
        }
    lengths = by_length(at_base)
    return {
        "fitted_on": at_base[0]["fitted_on"] if at_base else {},
        "base": overall(at_base, plan.within),
        "axes": axes,
        "classes": by_class(at_base),
        "lengths": lengths,
        "breaks": _breaks(axes, lengths, plan.broken),
        "errors": _errors(records),
    }


def overall(records: Sequence[Record], within: int) -> Table:
    """map -> `gradient`, `worst`, `short` and `prompt`.

    `gradient` is the mean over classes of words that maps are fitted for, `worst` the largest of them, `short` that of
    words of one token on both sides.
    """

    def gradients(found: Mapping[str, Any]) -> list[float]:
        return [row["gradient"] for name, row in found["classes"].items() if _target(name) <= within]

    numbers: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
        "gradient": lambda found: fmean(own) if (own := gradients(found)) else None,
        "worst": lambda found: max(gradients(found), default=None),
        "short": lambda found: found["classes"].get("1x1", {}).get("gradient"),
        "prompt": lambda found: found["prompt"],
    }
    return {
        name: {key: _joined(number(found) for found in rows) for key, number in numbers.items()}
        for name, rows in _rows(records).items()
    }


def by_class(records: Sequence[Record]) -> dict[str, Table]:
    """class -> map -> its numbers; a cosine is a plain mean."""
    names = sorted({name for record in records for name in record["fitted_on"]})
    return {
        name: {
            method: {
                key: (_mean if key == "cosine" else _joined)(
                    found["classes"].get(name, {}).get(key) for found in rows
                )
                for key in NUMBERS
            }
            for method, rows in _rows(records).items()
        }
        for name in names
    }


def by_length(records: Sequence[Record]) -> dict[str, Table]:
    """target tokens of a word -> map -> `gradient`, the mean over classes, and `worst`, the largest."""
    lengths = sorted({_target(name) for record in records for name in record["fitted_on"]})
    return {str(length): _of_length(records, length) for length in lengths}


def _of_length(records: Sequence[Record], length: int) -> Table:
    found = {}
    for method, rows in _rows(records).items():
        own = [
            [row["gradient"] for name, row in one["classes"].items() if _target(name) == length]
            for one in rows
        ]
        known = [some for some in own if some]
        found[method] = {"gradient": _joined(map(fmean, known)), "worst": _joined(map(max, known))}
    return found


def _rows(records: Sequence[Record]) -> dict[str, list[Mapping[str, Any]]]:
    """map -> what every record found of it, where it could be fitted."""
    names = dict.fromkeys(name for record in records for name in record["methods"])
    return {
        name: [record["methods"][name] for record in records if "classes" in record["methods"].get(name, {})]
        for name in names
    }


def _breaks(axes: Mapping[str, Mapping[str, Table]], lengths: Mapping[str, Table], broken: float) -> Table:
    """map -> axis -> the first value, from easy to hard, at which the worst class is off by more than `broken`."""
    easy_first: dict[str, Sequence[str]] = {
        "noise": list(axes.get("noise", {})),
        "overlap": list(axes.get("overlap", {}))[::-1],
        "words": list(axes.get("words", {}))[::-1],
        "length": list(lengths),
    }
    tables = {**axes, "length": lengths}
    methods = dict.fromkeys(name for table in tables.values() for row in table.values() for name in row)
    return {
        method: {
            axis: next(
                (float(value) for value in values if _is_broken(tables[axis][value].get(method), broken)),
                None,
            )
            for axis, values in easy_first.items()
            if values
        }
        for method in methods
    }


def _is_broken(row: Mapping[str, Any] | None, broken: float) -> bool:
    """Where a map could not be fitted, it is broken, too."""
    found = (row or {}).get("worst")
    return found is None or found["mean"] > broken


def _errors(records: Sequence[Record]) -> dict[str, str]:
    """map -> why it could not be fitted, the first time."""
    found: dict[str, str] = {}
    for record in records:
        for name, row in record["methods"].items():
            if "error" in row:
                found.setdefault(name, f"{record['id']}: {row['error']}")
    return found


def _joined(values: Iterable[float | None]) -> dict[str, Any] | None:
    """The geometric mean of errors, with the extremes; None where there is none."""
    known = [max(value, LEAST) for value in values if value is not None]
    if not known:
        return None
    mean = math.exp(fmean(map(math.log, known)))
    return {"mean": mean, "low": min(known), "high": max(known), "count": len(known)}


def _mean(values: Iterable[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    return (
        {"mean": fmean(known), "low": min(known), "high": max(known), "count": len(known)} if known else None
    )


def _target(name: str) -> int:
    """The target tokens of a class, "2x3"."""
    return int(name.partition("x")[2])
