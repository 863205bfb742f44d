"""The page of a prompt transfer: precision@1 of every method on every task, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.report.charts import INK, MUTED, finished_svg, in_page_colours
from fuse_repro.report.markup import MISSING, Html, element, escape, folded, join, table
from fuse_repro.report.matching import matching_section
from fuse_repro.report.summary import tile

Record = Mapping[str, Any]


def is_transfer(records: Sequence[Record]) -> bool:
    """Whether these are records of a prompt transfer."""
    return bool(records) and "method" in records[0]


def transfer_body(records: Sequence[Record], results: Mapping[str, Any]) -> Html:
    """Tiles, the table methods x tasks with its chart, and every cell."""
    done = [record for record in records if record["status"] == "done"]
    failed = [record for record in records if record["status"] != "done"]
    tiles = [tile(str(len(done)), "cells"), tile(str(len(failed)), "failed", "alarm" if failed else None)]
    methods = results.get("methods") or {}
    return join(
        [
            element("section", element("div", *tiles, class_="tiles"), aria_label="Summary"),
            _methods(methods, results.get("split", "test"), done) if methods else None,
            matching_section(done),
            _failures(failed) if failed else None,
            _cells(done),
        ]
    )


def _methods(methods: Mapping[str, Any], split: str, done: Sequence[Record]) -> Html:
    tasks = list(dict.fromkeys(record["task"] for record in done))
    labels = {record["task"]: record.get("label") or record["task"] for record in done}
    ranked = sorted(methods.items(), key=lambda pair: -pair[1]["mean_over_relations"])
    rows = [
        [
            name,
            element("b", percent(row["mean_over_relations"])),
            f"{percent(row['low'])} to {percent(row['high'])}",
            *(percent(row["tasks"].get(task)) for task in tasks),
        ]
        for name, row in ranked
    ]
    head = ["method", "mean", "95% interval", *(labels[task] for task in tasks)]
    note = (
        f"Precision@1 on the {split} split, percent. The mean counts every task once; intervals resample tasks "
        "and seeds (2,000 bootstrap samples)."
    )
    return element(
        "section",
        element("h3", "Precision@1"),
        element("p", note, class_="hint"),
        _chart(ranked),
        element("div", table(head, rows, class_="contents"), class_="scroll"),
        class_="card",
    )


def percent(value: float | None) -> str:
    """A share as percent with one digit; a dash where there is none."""
    return MISSING if value is None else f"{100 * value:.1f}"


def _failures(failed: Sequence[Record]) -> Html:
    rows = [[record["id"], record.get("error", "")] for record in failed]
    return element(
        "section", element("h2", "Failed cells"), table(["cell", "error"], rows), class_="card failed"
    )


def _cells(done: Sequence[Record]) -> Html:
    rows = [
        [
            record["id"],
            percent(record["accuracy"]),
            f"{record['loss']:.3f}",
            record["items"],
            record["candidates"],
            _dropped(record),
        ]
        for record in done
    ]
    head = [
        "task / seed / method",
        "precision@1",
        "loss (nats)",
        "items",
        "candidates",
        "left out of the task",
    ]
    return folded(
        f"All {len(done)} cells", element("div", table(head, rows, class_="contents"), class_="scroll")
    )


def _dropped(record: Record) -> str:
    """Facts of the whole task that could not be used, and why."""
    reasons = [f"{count} {reason}" for reason, count in (record.get("dropped") or {}).items() if count]
    return ", ".join(reasons) or "none"


def _chart(ranked: Sequence[tuple[str, Mapping[str, Any]]]) -> Html:
    """A dot with its interval for every method, best on top."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "methods", "font.size": 8.5}):
        figure = Figure(figsize=(5.6, 0.5 + 0.27 * len(ranked)), layout="constrained")
        axes = figure.subplots()
        for place, (_, row) in enumerate(reversed(ranked)):
            axes.plot([100 * row["low"], 100 * row["high"]], [place, place], color=MUTED, linewidth=1.5)
            axes.plot([100 * row["mean_over_relations"]], [place], color=INK, marker="o", markersize=5)
        axes.set_yticks(range(len(ranked)), [name for name, _ in reversed(ranked)])
        axes.set_xlabel("precision@1, percent", color=MUTED)
        axes.set_xlim(left=0)
        drawing = in_page_colours(finished_svg(figure, axes, "x"), 0)
    label = escape("Precision@1 of every method with its 95% interval")
    return Html(drawing.replace("<svg ", f'<svg class="chart" role="img" aria-label="{label}" ', 1))
