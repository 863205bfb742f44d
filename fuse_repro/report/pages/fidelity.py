"""The page of a fidelity run: how predictions rank candidates, by prompt length, objective and word length."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.metrics.statistics import Interval
from fuse_repro.report.formats import Estimate, estimate
from fuse_repro.report.pages.parts import Record, counts, split
from fuse_repro.report.plots.metric_plots import line_plot
from fuse_repro.report.plots.style import Plot

Rows = Mapping[str, Mapping[str, Mapping[str, float]]]  # method -> number -> mean, low, high, count
Table = tuple[list[str], list[list[Estimate | str]]]  # head, and rows with the method first
PLOTTED, LISTED = 6, 16  # methods in a plot, and in the first table
ALWAYS = ("default", "context", "table", "fuse@paper", "lm_only")  # those of them that are there


def is_fidelity(records: Sequence[Record], _results: Mapping[str, Any]) -> bool:
    """Whether these are records of a fidelity run."""
    return bool(records) and records[0].get("kind") == "fidelity"


def fidelity_content(records: Sequence[Record], results: Mapping[str, Any]) -> dict[str, Any]:
    """Tiles, the table of methods, plots over prompt length, tables per objective and token-length class."""
    done, failed = split(records)
    methods = results.get("methods")
    return {
        "tiles": counts(done, failed, "prompts measured"),
        "measured": _measured(methods, results) if methods else None,
        "failed": failed,
    }


def _measured(methods: Rows, results: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "plots": _lengths(results["by_length"], methods),
        "main": _table({name: methods[name] for name in _chosen(methods, LISTED)}),
        "all": _table(methods),
        "objectives": {name: _table(rows) for name, rows in results["by_objective"].items()},
        "classes": _classes(results["by_class"], methods),
    }


def _table(methods: Rows) -> Table:
    ranked = sorted(methods.items(), key=lambda pair: -pair[1]["spearman"]["mean"])
    numbers = list(ranked[0][1])
    return ["method", *numbers], [
        [name, *(estimate(row.get(key)) for key in numbers)] for name, row in ranked
    ]


def _lengths(by_length: Mapping[str, Rows], methods: Rows) -> list[Plot]:
    """Rank correlation and recall of the chosen methods over prompt lengths."""
    chosen = _chosen(methods, PLOTTED)
    largest = [key for key in methods[chosen[0]] if key.startswith("recall@")][-1]
    shown = {"spearman": "Rank correlation (Spearman)", largest: f"Recall of the best 1%: {largest}"}
    axis = "words of the prompt beyond its prefix"
    return [line_plot(label, axis, _lines(by_length, chosen, key)) for key, label in shown.items()]


def _chosen(methods: Rows, count: int) -> list[str]:
    """The methods that everyone asks about, and the best of the others."""
    ranked = sorted(methods, key=lambda name: -methods[name]["spearman"]["mean"])
    known = [name for name in ALWAYS if name in methods]
    rest = [name for name in ranked if name not in known and name != "oracle"]
    return [*known, *rest][:count]


def _lines(by_length: Mapping[str, Rows], names: Sequence[str], key: str) -> dict[str, dict[Any, Interval]]:
    return {
        name: {int(length): _interval(rows[name][key]) for length, rows in by_length.items() if name in rows}
        for name in names
    }


def _interval(found: Mapping[str, Any]) -> Interval:
    return Interval(found["mean"], found["low"], found["high"], int(found["count"]))


def _classes(by_class: Mapping[str, Mapping[str, Mapping[str, float]]], methods: Rows) -> Table:
    """Rank correlation within classes of words: tokens in the source model x tokens in the target model."""
    names = sorted({name for classes in by_class.values() for name in classes})
    ranked = sorted(by_class, key=lambda name: -methods[name]["spearman"]["mean"])
    rows = [[method, *(estimate(by_class[method].get(name)) for name in names)] for method in ranked]
    return ["method", *names], rows
