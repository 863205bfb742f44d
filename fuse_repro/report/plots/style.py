"""How a plot looks: the page's colours and font, and how the lines of a plot are told apart.

Lines differ by colour, dash and marker, so that none is needed alone.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from fuse_repro.report.plots.export import export
from fuse_repro.shown import shown, visible

DASHES = ("", "5 2", "1.5 1.8", "6 2 1.5 2", "3 3", "8 3")
PLACEHOLDERS = len(DASHES)
INK, MUTED, GRID = "#010101", "#020202", "#030303"
PRINT = ("#1c68a8", "#b3501a", "#3c7533", "#84489f", "#a33753", "#5b6470")  # as on a light page
PRINTED = {INK: "#000000", MUTED: "#444444", GRID: "#dddddd"}
PAGE_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)"}

# matplotlib's marker, and the same shape in a legend: around (14, 6), six units wide.
MARKERS = (
    ("o", "M11 6a3 3 0 1 0 6 0a3 3 0 1 0-6 0Z"),
    ("s", "M11 3h6v6h-6Z"),
    ("^", "M14 2.6l3.4 6h-6.8Z"),
    ("D", "M14 2.2l3.6 3.8l-3.6 3.8l-3.6-3.8Z"),
    ("v", "M14 9.4l3.4-6h-6.8Z"),
    ("P", "M13 3h2v2h2v2h-2v2h-2v-2h-2v-2h2Z"),
    ("X", "M12 3l2 2l2-2l1 1l-2 2l2 2l-1 1l-2-2l-2 2l-1-1l2-2l-2-2Z"),
)


@dataclass(frozen=True)
class Drawing:
    """A plot without its title.

    Attributes:
        svg: the <svg> element.
        label: the plot in words, for readers who cannot see it.
    """

    svg: Markup
    label: str


@dataclass(frozen=True)
class Stroke:
    """A short line as a series is drawn, for legends.

    Attributes:
        colour: as CSS knows it.
        width: in pixels.
        dash: SVG's stroke-dasharray.
    """

    colour: str
    width: float
    dash: str


@dataclass(frozen=True)
class Series:
    """One entry of a legend.

    Attributes:
        name: of the series.
        stroke: its line, or None where it has none.
        colour: of its sign.
        sign: path of its marker or bar, or None where it has none.
    """

    name: str
    stroke: Stroke | None
    colour: str
    sign: str | None


@dataclass(frozen=True)
class Plot:
    """A drawing with its title and legend.

    Attributes:
        title: names the metric.
        drawing: the plot itself.
        legend: what each series is; None for a single one.
    """

    title: str
    drawing: Drawing
    legend: Sequence[Series] | None


def series_colour(index: int) -> str:
    """The page's colour of the series at this place."""
    return f"var(--term-{index % PLACEHOLDERS + 1})"


def term_stroke(index: int | None) -> Stroke:
    """How the loss curve draws the term at `index`; None stands for the whole objective."""
    if index is None:
        return Stroke("var(--ink)", 3, "none")
    return Stroke(series_colour(index), 2.2, DASHES[index % len(DASHES)] or "none")


def marker(index: int) -> str:
    """The marker in matplotlib of the series at this place; with the six colours, 42 series differ."""
    return MARKERS[index % len(MARKERS)][0]


def dash(index: int) -> Any:
    """The line style in matplotlib of the series at this place."""
    pattern = [float(part) for part in DASHES[index % len(DASHES)].split()]
    return (0, tuple(pattern)) if pattern else "solid"


def legend(names: Sequence[str], kind: str = "line") -> list[Series] | None:
    """What each series is; None for a single one.

    Args:
        names: of the series, in the order in which they are drawn.
        kind: "line" with its marker, "curve", "marker" alone, or "bar".
    """
    if len(names) < 2:
        return None
    return [_series(name, index, kind) for index, name in enumerate(names)]


def _series(name: str, index: int, kind: str) -> Series:
    colour = series_colour(index)
    stroke = Stroke(colour, 2, DASHES[index % len(DASHES)] or "none") if kind in ("line", "curve") else None
    shape = "M4 1h20v10h-20Z" if kind == "bar" else MARKERS[index % len(MARKERS)][1]
    return Series(name, stroke, colour, None if kind == "curve" else shape)


@contextmanager
def canvas(name: str, size_inches: tuple[float, float]) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes; `name` makes the ids inside the drawing unique on the page.

    Text from outside is drawn as `shown` has it: matplotlib takes no lone surrogates, and XML no control characters.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": visible(name),
        "font.size": 8.5,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size_inches, layout="constrained", label=name)
        yield figure, figure.subplots()


def finished(
    figure: Any, axes: Any, grid: str, label: str, names: Sequence[str] = (), kind: str = "line"
) -> Drawing:
    """The figure in the page's colours, with quiet axes and a grid across the axis `grid`.

    Args:
        figure: what was drawn.
        axes: its axes.
        grid: `x`, `y` or `both`.
        label: the figure in words.
        names: of the series, in the order in which they are drawn: the page has its legend apart, a file inside.
        kind: of the series, as `legend` has it.
    """
    axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(color=GRID, labelcolor=MUTED, length=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    target = io.StringIO()
    figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = Drawing(Markup(_in_page_colours(target.getvalue())), label)  # matplotlib escapes all text
    printed = PRINTED | {placeholder(index): PRINT[index] for index in range(PLACEHOLDERS)}
    export(figure, axes, printed, _handles(names, kind) if len(names) > 1 else [])
    return drawing


def _handles(names: Sequence[str], kind: str) -> list[Any]:
    """A legend's entries as matplotlib draws them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if kind == "bar":
        return [Patch(color=placeholder(index), label=shown(name)) for index, name in enumerate(names)]
    return [
        Line2D(
            [],
            [],
            color=placeholder(index),
            linestyle="none" if kind == "marker" else dash(index),
            marker=None if kind == "curve" else marker(index),
            markersize=4,
            label=shown(name),
        )
        for index, name in enumerate(names)
    ]


def placeholder(index: int) -> str:
    """The colour of a series while matplotlib draws it."""
    return f"#0101{index % PLACEHOLDERS + 16:02x}"


def _in_page_colours(document: str) -> str:
    """Only the <svg> element, scalable, with the page's colours and font in place of matplotlib's."""
    drawing = document[document.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", drawing, flags=re.S)
    drawing = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", drawing)
    colours = PAGE_COLOURS | {placeholder(index): series_colour(index) for index in range(PLACEHOLDERS)}
    for drawn, seen in colours.items():
        drawing = drawing.replace(drawn, seen)
    return re.sub(r">\s+<", "><", drawing).strip()
