"""The tables of a fidelity run: per method means over pairs, objectives and lengths, with bootstrap intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from fuse_repro.errors import UsageError
from fuse_repro.metrics.fidelity import flat
from fuse_repro.metrics.statistics import clustered_interval, clustered_intervals

Record = Mapping[str, Any]


def summary(records: Sequence[Record], ks: Sequence[int]) -> dict[str, Any]:
    """Counts; every method over all; and per group of pair, objective, place and length.

    Raises UsageError where nothing could be measured.
    """
    done = [record for record in records if record["status"] == "done"]
    if not done:
        reason = records[0]["error"] if records else "no prompt could be cut from the data"
        raise UsageError(f"nothing could be measured: {reason}")
    return {
        "runner": "fidelity",
        "items": {"done": len(done), "failed": len(records) - len(done)},
        "ks": list(ks),
        "methods": methods_table(done),
        "by_length": _split(done, lambda record: str(record["length"])),
        "by_objective": _split(
            done, lambda record: f"{record['pair']} {record['objective']} {record['place']}"
        ),
        "by_class": _classes(done),
    }


def methods_table(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """method -> number -> mean, low, high, count; every group counts once, sentences are resampled.

    Of records of several runs, which may have other k, the numbers that all of a method's records have.
    """
    names = dict.fromkeys(name for record in records for name in record["methods"])
    table: dict[str, dict[str, Any]] = {}
    for name in names:
        own = [record for record in records if name in record["methods"]]
        rows = [flat(record["methods"][name]) for record in own]
        groups = [group_of(record) for record in own]
        clusters = [f"{record['corpus']}/{record['source']}" for record in own]
        numbers = [number for number in rows[0] if all(number in row for row in rows)]
        found = clustered_intervals(
            numpy.array([[row[key] for key in numbers] for row in rows]), groups, clusters
        )
        table[name] = {number: vars(interval) for number, interval in zip(numbers, found, strict=True)}
    return table


def group_of(record: Record) -> str:
    """What counts once in a mean: pair, objective, place and prompt length."""
    return "/".join(str(record[key]) for key in ("pair", "objective", "place", "length"))


def _split(records: Sequence[Record], key: Any) -> dict[str, dict[str, dict[str, Any]]]:
    names = sorted({key(record) for record in records}, key=lambda name: (len(name), name))
    return {name: methods_table([record for record in records if key(record) == name]) for name in names}


def _classes(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Rank correlation per token-length class: method -> class -> mean, low, high, count."""
    found: dict[str, dict[str, tuple[list[float], list[str], list[str]]]] = {}
    for record in records:
        for method, measured in record["methods"].items():
            for name, value in measured["classes"].items():
                values, groups, clusters = found.setdefault(method, {}).setdefault(name, ([], [], []))
                values.append(value)
                groups.append(group_of(record))
                clusters.append(f"{record['corpus']}/{record['source']}")
    return {
        method: {name: vars(clustered_interval(*columns)) for name, columns in sorted(classes.items())}
        for method, classes in found.items()
    }
