"""The page of a fidelity run: how every prediction ranks candidates, per prompt length, objective and word length."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.metrics.statistics import Interval
from fuse_repro.report.markup import Html, element, folded, join, mean_cell, table
from fuse_repro.report.plots import line_plot
from fuse_repro.report.summary import tile

Record = Mapping[str, Any]
Rows = Mapping[str, Mapping[str, Mapping[str, float]]]  # method -> number -> mean, low, high, count
PLOTTED, LISTED = 6, 16  # methods in a plot, and in the first table
ALWAYS = ("default", "context", "table", "fuse@paper", "lm_only")  # those of them that are there
INTRODUCTION = (
    "Predicted against true objectives of a random sample of next tokens. Recall: share of the truly best 1% found "
    "among the predicted best k of the whole vocabulary. Regret: how far the best of those k is from the best of all, "
    "in standard deviations of the true objective. Means count every pair, objective and length once; intervals "
    "resample sentences (2,000 bootstrap samples)."
)


def is_fidelity(records: Sequence[Record]) -> bool:
    """Whether these are records of a fidelity run."""
    return bool(records) and records[0].get("kind") == "fidelity"


def fidelity_body(records: Sequence[Record], results: Mapping[str, Any]) -> Html:
    """Tiles, the table of methods, plots over prompt length, tables per objective and per token-length class."""
    failed = [record for record in records if record["status"] != "done"]
    tiles = [
        tile(str(len(records) - len(failed)), "prompts measured"),
        tile(str(len(failed)), "failed", "alarm" if failed else None),
    ]
    parts: list[Html | None] = [
        element("section", element("div", *tiles, class_="tiles"), aria_label="Summary")
    ]
    if methods := results.get("methods"):
        parts += [_lengths(results["by_length"], methods), _methods(methods)]
        parts += [_objectives(results["by_objective"]), _classes(results["by_class"], methods)]
    parts += [_failures(failed) if failed else None]
    return join(parts)


def _methods(methods: Rows) -> Html:
    return element(
        "section",
        element("h3", "Methods"),
        element("p", INTRODUCTION, class_="hint"),
        _table({name: methods[name] for name in _chosen(methods, LISTED)}),
        folded(f"All {len(methods)} methods", _table(methods)),
        class_="card",
    )


def _table(methods: Rows) -> Html:
    ranked = sorted(methods.items(), key=lambda pair: -pair[1]["spearman"]["mean"])
    numbers = list(ranked[0][1])
    rows = [[name, *(mean_cell(row.get(key)) for key in numbers)] for name, row in ranked]
    return element("div", table(["method", *numbers], rows, class_="contents"), class_="scroll")


def _lengths(by_length: Mapping[str, Rows], methods: Rows) -> Html:
    """Rank correlation and recall of the chosen methods over prompt lengths."""
    chosen = _chosen(methods, PLOTTED)
    largest = [key for key in methods[chosen[0]] if key.startswith("recall@")][-1]
    plots = [
        line_plot(label, "words of the prompt beyond its prefix", _lines(by_length, chosen, key))
        for key, label in (
            ("spearman", "Rank correlation (Spearman)"),
            (largest, f"Recall of the best 1%: {largest}"),
        )
    ]
    return element("section", element("h3", "Over prompt lengths"), *plots, class_="card")


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


def _interval(found: Mapping[str, float]) -> Interval:
    return Interval(found["mean"], found["low"], found["high"], int(found["count"]))


def _objectives(by_objective: Mapping[str, Rows]) -> Html:
    parts = [folded(name, _table(rows)) for name, rows in by_objective.items()]
    return element("section", element("h3", "Per pair of models, objective and place"), *parts, class_="card")


def _classes(by_class: Mapping[str, Mapping[str, Mapping[str, float]]], methods: Rows) -> Html:
    """Rank correlation within classes of words: tokens in the source model x tokens in the target model."""
    names = sorted({name for classes in by_class.values() for name in classes})
    ranked = sorted(by_class, key=lambda name: -methods[name]["spearman"]["mean"])
    rows = [[method, *(mean_cell(by_class[method].get(name)) for name in names)] for method in ranked]
    note = (
        "Rank correlation among candidates whose word has so many tokens in the source x in the target model."
    )
    listing = element("div", table(["method", *names], rows, class_="contents"), class_="scroll")
    return element(
        "section",
        element("h3", "Per word length"),
        element("p", note, class_="hint"),
        folded("Every method", listing),
        class_="card",
    )


def _failures(failed: Sequence[Record]) -> Html:
    rows = [[record["id"], record.get("error", "")] for record in failed]
    return element(
        "section", element("h2", "Failed prompts"), table(["prompt", "error"], rows), class_="card failed"
    )
