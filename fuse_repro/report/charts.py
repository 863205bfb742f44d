"""The loss curve of one item: every objective term over the steps, as inline SVG in the page's own colours."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.report.markup import Html, element, escape, number

DASHES = ("", "5 2", "1.5 1.8", "6 2 1.5 2", "3 3", "8 3")
PLACEHOLDERS = len(DASHES)
SIZE_INCHES = (4.8, 2.3)
INK, MUTED, GRID = "#010101", "#020202", "#030303"
PAGE_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)"}


def series_colour(index: int) -> str:
    """The page's colour of the term at this place in the objective."""
    return f"var(--term-{index % len(DASHES) + 1})"


def swatch(index: int | None) -> Html:
    """A short stroke as the term at `index` (None: the whole objective) is drawn, for legends."""
    dash, width, colour = (
        ("", 3, "var(--ink)") if index is None else (DASHES[index % len(DASHES)], 2.2, series_colour(index))
    )
    stroke = f"stroke:{colour};stroke-width:{width};stroke-dasharray:{dash or 'none'}"
    line = element("line", x1=0, y1=5, x2=26, y2=5, style=stroke)
    return element("svg", line, class_="swatch", width=26, height=10, aria_hidden="true")


def best_of_beam(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The hypothesis with the lowest objective at every step that has one."""
    beams = ([row for row in step["beam"] if row.get("objective") is not None] for step in steps)
    return [min(beam, key=lambda row: row["objective"]) for beam in beams if beam]


def loss_chart(name: str, steps: Sequence[Mapping[str, Any]], terms: Sequence[str]) -> Html | None:
    """Weighted value of every term, and their sum, for the best hypothesis of each step.

    None if there is no step. `name` makes the ids inside the drawing unique on the page.
    """
    best = best_of_beam(steps)
    if not best:
        return None
    lines = {term: [_value(row["terms"].get(term)) for row in best] for term in terms}
    total = [_value(row["objective"]) for row in best]
    label = f"Loss curve of {name} over {len(best)} steps: objective from {number(total[0])} to {number(total[-1])}"
    drawing = in_page_colours(_draw(name, lines, total), len(terms))
    return Html(drawing.replace("<svg ", f'<svg class="chart" role="img" aria-label="{escape(label)}" ', 1))


def _value(value: float | None) -> float:
    return float("nan") if value is None else value


def _draw(name: str, lines: Mapping[str, Sequence[float]], total: Sequence[float]) -> str:
    """The chart as matplotlib's SVG, in placeholder colours."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 8.5}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
        places = range(1, len(total) + 1)
        for index, values in enumerate(lines.values()):
            pattern = [float(part) for part in DASHES[index % len(DASHES)].split()]
            style: Any = (0, pattern) if pattern else "solid"
            axes.plot(places, values, color=placeholder(index), linewidth=1.5, linestyle=style)
        axes.plot(places, total, color=INK, linewidth=2.2, marker="o", markersize=3)
        axes.set_xlabel("step", color=MUTED)
        axes.set_ylabel("weighted loss", color=MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        return finished_svg(figure, axes, "y")


def finished_svg(figure: Any, axes: Any, grid: str) -> str:
    """The figure as SVG, with quiet axes and a grid across the axis `grid`."""
    axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(color=GRID, labelcolor=MUTED, length=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    target = io.StringIO()
    figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return target.getvalue()


def placeholder(index: int) -> str:
    """The colour of a series while matplotlib draws it."""
    return f"#0101{index % len(DASHES) + 16:02x}"


def in_page_colours(document: str, terms: int) -> str:
    """Only the <svg> element, scalable, with the page's colours and font in place of matplotlib's."""
    drawing = document[document.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", drawing, flags=re.S)
    drawing = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", drawing)
    colours = PAGE_COLOURS | {placeholder(index): series_colour(index) for index in range(terms)}
    for drawn, shown in colours.items():
        drawing = drawing.replace(drawn, shown)
    return re.sub(r">\s+<", "><", drawing).strip()
