"""The page of a run against known truth: errors along every axis, where maps break, and each class of words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.metrics.statistics import Interval
from fuse_repro.report.formats import MISSING, Estimate, error
from fuse_repro.report.pages.parts import Record, counts, split
from fuse_repro.report.plots.metric_plots import line_plot
from fuse_repro.report.plots.style import Plot

Found = Mapping[str, Any]  # mean, low, high, count
Table = tuple[list[str], list[list[Estimate | str]]]  # head, and rows with the map first
AXES = {
    "noise": "noise on the target's embeddings",
    "overlap": "share of the whole words that both models have",
    "words": "words that maps are fitted on, per pair of token counts",
    "length": "tokens per word in the target (l)",
}
WHAT = {
    "gradient": "Error of the gradient",
    "short": "Error of the gradient, words of one token",
    "prompt": "Error of the soft prompt",
}
COLUMNS = {
    "gradient": "gradient, mean",
    "worst": "worst class",
    "short": "words of one token",
    "prompt": "soft prompt",
}
BREAKS = {
    "noise": "noise from",
    "overlap": "overlap down to",
    "words": "words down to",
    "length": "tokens per word from",
}
AT_ONCE = "at once"
HOLDS = {
    "places": "FUSE's equation, E_t = E_s * T, holds for every word: each place of a word has a matrix of its own.",
    "sums": "The sum of a word's embeddings in the target is the image of their sum in the source; pieces are free.",
    "means": "The mean of a word's embeddings in the target is the image of their mean in the source; pieces are free.",
}


def is_known_truth(records: Sequence[Record], _results: Mapping[str, Any]) -> bool:
    """Whether these are records of a run against known truth."""
    return bool(records) and records[0].get("kind") == "known_truth"


def known_truth_content(records: Sequence[Record], results: Mapping[str, Any]) -> dict[str, Any]:
    """Tiles, and a part for every truth."""
    done, failed = split(records)
    return {
        "tiles": counts(done, failed, "pairs of models"),
        "broken": f"{100 * results.get('broken', 0.1):g}%",
        "within": results.get("within"),
        "truths": {
            name: _truth(found, results["base"]) for name, found in (results.get("truths") or {}).items()
        },
        "failed": failed,
    }


def _truth(found: Mapping[str, Any], easy: Mapping[str, Any]) -> dict[str, Any]:
    axes = {axis: _along(rows) for axis, rows in found["axes"].items() if axis in AXES}
    axes["length"] = _along(found["lengths"])
    return {
        "holds": _holds(found["settings"]),
        "gradients": [_plot(axis, "gradient", rows) for axis, rows in axes.items()],
        "more": {
            name: [_plot(axis, number, rows) for axis, rows in axes.items() if axis != "length"]
            for name, number in (("Words of one token", "short"), ("Soft prompts", "prompt"))
        },
        "breaks": _breaks(
            found["breaks"], found["base"], {**easy, "length": min(map(int, found["lengths"]), default=None)}
        ),
        "classes": {
            name: _classes(found["classes"], found["fitted_on"], number)
            for name, number in (
                ("gradient", "gradient"),
                ("map itself", "map"),
                ("scores of next tokens", "scores"),
            )
        },
        "tokenizers": _tokenizers(found["axes"].get("tokenizer", {})),
        "errors": [[name, text] for name, text in found["errors"].items()],
    }


def _along(rows: Mapping[str, Any]) -> dict[float, Any]:
    """A table with its axis as numbers; an axis of powers of ten has no place for zero."""
    return {float(value): row for value, row in rows.items() if float(value) > 0}


def _plot(axis: str, number: str, rows: Mapping[float, Any]) -> Plot:
    """Powers of ten of the error, one line per map; maps of equal errors share a line."""
    lines: dict[str, dict[float, Interval]] = {}
    for value, row in rows.items():
        for method, found in row.items():
            if found.get(number):
                lines.setdefault(method, {})[value] = _power(found[number])
    title = f"{WHAT[number]} against {AXES[axis]}, as a power of ten"
    return line_plot(title, AXES[axis], _together(lines))


def _power(found: Found) -> Interval:
    mean, low, high = (math.log10(found[key]) for key in ("mean", "low", "high"))
    return Interval(mean, low, high, int(found["count"]))


def _together(lines: Mapping[str, Mapping[float, Interval]]) -> dict[str, dict[float, Interval]]:
    """Lines that cannot be told apart under their joined names."""
    same: dict[tuple[Any, ...], list[str]] = {}
    for name, line in lines.items():
        same.setdefault(tuple((x, round(value.mean, 2)) for x, value in line.items()), []).append(name)
    return {", ".join(names): dict(lines[names[0]]) for names in same.values()}


def _holds(settings: Mapping[str, Any]) -> str:
    """What is known of a truth, in words."""
    also = ["", " This holds for every token of the source."][bool(settings["every_token"])]
    more = ["", " Some words have more tokens in the source than in the target."][bool(settings["coarser"])]
    sizes = f"{settings['source_size']} to {settings['target_size']}"
    return (
        f"{HOLDS[settings['relation']]}{also}{more} Embedding sizes: {sizes}; matrix: {settings['matrix']}."
    )


def _breaks(breaks: Mapping[str, Any], base: Mapping[str, Any], easy: Mapping[str, Any]) -> Table:
    """Errors without noise, and the first value of every axis at which a map is broken."""
    axes = list(dict.fromkeys(axis for row in breaks.values() for axis in row))
    head = ["map", *COLUMNS.values(), *(BREAKS[axis] for axis in axes)]
    rows: list[list[Estimate | str]] = [
        [
            method,
            *(error(base.get(method, {}).get(key)) for key in COLUMNS),
            *(_broken_at(row[axis], easy[axis]) for axis in axes),
        ]
        for method, row in breaks.items()
    ]
    return head, rows


def _broken_at(value: float | None, easiest: float | None) -> str:
    if value is None:
        return MISSING
    return AT_ONCE if value == easiest else f"{value:g}"


def _classes(classes: Mapping[str, Any], words: Mapping[str, int], number: str) -> Table:
    head = ["map", *(f"{name} ({words.get(name, MISSING)} words)" for name in classes)]
    methods = dict.fromkeys(method for row in classes.values() for method in row)
    return head, [
        [method, *(error(row.get(method, {}).get(number)) for row in classes.values())] for method in methods
    ]


def _tokenizers(rows: Mapping[str, Any]) -> Table:
    methods = dict.fromkeys(method for row in rows.values() for method in row)
    return ["map", *rows], [
        [method, *(error(row.get(method, {}).get("gradient")) for row in rows.values())] for method in methods
    ]
