"""How well transferred prompts match their sources, and what a match is worth (PTfer, Figure 2)."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fuse_repro.metrics.statistics import bootstrap_interval
from fuse_repro.report.plots.metric_plots import line_plot, scatter_plot
from fuse_repro.report.plots.style import Plot

Record = Mapping[str, Any]
Cells = Mapping[str, Sequence[Record]]
LOSS = "matching loss"


def matching_plots(done: Sequence[Record]) -> list[Plot]:
    """Plots of the matching loss of every method that has one; empty where there is none."""
    methods = dict.fromkeys(record["method"] for record in done if record.get("matching"))
    cells = {
        method: [record for record in done if record["method"] == method and record.get("matching")]
        for method in methods
    }
    return [plot for plot in (_search(cells), _along(cells), _ends(cells)) if plot is not None]


def _ends(cells: Cells) -> Plot | None:
    """Precision@1 of every cell against the loss that was reached, a point for every task and seed."""
    points = {
        method: [(record["matching"]["loss"], 100 * record["accuracy"]) for record in records]
        for method, records in cells.items()
    }
    return (
        scatter_plot("precision@1, percent, against matching loss in every cell", LOSS, points)
        if points
        else None
    )


def _along(cells: Cells) -> Plot | None:
    """Precision@1 on dev against the loss along the search, mean over tasks and seeds."""
    paths = {}
    for method, records in cells.items():
        scores = [record["matching"]["scores"] for record in records if record["matching"].get("scores")]
        rows = [row for score in scores for row in score]
        steps = sorted({step for step, _, _ in rows})
        path = [[(loss, rating) for at, loss, rating in rows if at == step] for step in steps]
        if len(path) > 1:
            paths[method] = [
                (fmean(loss for loss, _ in at), 100 * fmean(rating for _, rating in at)) for at in path
            ]
    if not paths:
        return None
    return scatter_plot("precision@1 on dev, percent, along the search", LOSS, paths, joined=True)


def _search(cells: Cells) -> Plot | None:
    """The loss over the steps of the search, mean over tasks and seeds with its interval."""
    lines = {}
    for method, records in cells.items():
        values: dict[Any, list[float]] = {}
        for record in records:
            for step, loss in record["matching"].get("curve") or []:
                values.setdefault(step, []).append(loss)
        if len(values) > 1:
            lines[method] = {step: bootstrap_interval(losses) for step, losses in values.items()}
    return line_plot("matching loss over the search", "step", lines, dots=False) if lines else None
