"""Precision@1 of every method as a dot with its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.report.plots.style import INK, MUTED, Drawing, canvas, finished
from fuse_repro.shown import shown


def methods_chart(ranked: Sequence[tuple[str, Mapping[str, Any]]]) -> Drawing:
    """A row for every (method, summary), the first on top; a method without an interval is a dot alone."""
    with canvas("methods", (5.6, 0.5 + 0.27 * len(ranked))) as (figure, axes):
        for place, (_, row) in enumerate(reversed(ranked)):
            if row["low"] is not None and row["high"] is not None:
                axes.plot([100 * row["low"], 100 * row["high"]], [place, place], color=MUTED, linewidth=1.5)
            axes.plot([100 * row["mean_over_relations"]], [place], color=INK, marker="o", markersize=5)
        axes.set_yticks(range(len(ranked)), [shown(name) for name, _ in reversed(ranked)])
        axes.set_xlabel("precision@1, percent", color=MUTED)
        axes.set_xlim(left=0)
        return finished(figure, axes, "x", "Precision@1 of every method with its 95% interval")
