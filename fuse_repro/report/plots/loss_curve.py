"""The loss curve of one item: every objective term over the steps."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from fuse_repro.report.formats import number
from fuse_repro.report.plots.style import INK, MUTED, Drawing, canvas, dash, finished, placeholder

SIZE_INCHES = (4.8, 2.3)
KEPT = 256  # drawings: a run that goes on, and a page written anew, show most items again


def best_of_beam(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The hypothesis with the lowest objective at every step that has one."""
    beams = ([row for row in step["beam"] if row.get("objective") is not None] for step in steps)
    return [min(beam, key=lambda row: row["objective"]) for beam in beams if beam]


def loss_chart(name: str, steps: Sequence[Mapping[str, Any]], terms: Sequence[str]) -> Drawing | None:
    """Weighted value of every term, and their sum, for the best hypothesis of each step.

    Args:
        name: of the item; it makes the ids inside the drawing unique on the page.
        steps: of the search.
        terms: names of the objective's terms.

    Returns:
        None if there is no step.
    """
    best = best_of_beam(steps)
    if not best:
        return None
    lines = tuple(tuple(_value(row["terms"].get(term)) for row in best) for term in terms)
    total = tuple(_value(row["objective"]) for row in best)
    label = f"Loss curve of {name} over {len(best)} steps: objective from {number(total[0])} to {number(total[-1])}"
    return _draw(name, tuple(terms), lines, total, label)


def _value(value: float | None) -> float:
    return float("nan") if value is None else value


@lru_cache(KEPT)
def _draw(
    name: str,
    terms: tuple[str, ...],
    lines: tuple[tuple[float, ...], ...],
    total: tuple[float, ...],
    label: str,
) -> Drawing:
    from matplotlib.ticker import MaxNLocator

    with canvas(name, SIZE_INCHES) as (figure, axes):
        places = range(1, len(total) + 1)
        for index, values in enumerate(lines):
            axes.plot(places, values, color=placeholder(index), linewidth=1.5, linestyle=dash(index))
        axes.plot(places, total, color=INK, linewidth=2.2, marker="o", markersize=3)
        axes.set_xlabel("step", color=MUTED)
        axes.set_ylabel("weighted loss", color=MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        return finished(figure, axes, "y", label, terms, "curve")
