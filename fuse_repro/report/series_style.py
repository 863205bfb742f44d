"""How the lines of a plot are told apart: by colour, dash and marker, so that none is needed alone."""

from fuse_repro.report.charts import DASHES, series_colour
from fuse_repro.report.markup import Html, element

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


def marker(index: int) -> str:
    """matplotlib's marker of the series at this place; with the six colours, 42 series differ."""
    return MARKERS[index % len(MARKERS)][0]


def dash(index: int) -> object:
    """matplotlib's line style of the series at this place."""
    pattern = [float(part) for part in DASHES[index % len(DASHES)].split()]
    return (0, tuple(pattern)) if pattern else "solid"


def legend(names: list[str], kind: str = "line") -> Html | None:
    """What each series is: a line with its marker, a curve, a marker alone, or a bar; None for a single one."""
    if len(names) < 2:
        return None
    items = [element("li", _sample(index, kind), name) for index, name in enumerate(names)]
    return element("ul", *items, class_="legend")


def _sample(index: int, kind: str) -> Html:
    colour = series_colour(index)
    stroke = f"stroke:{colour};stroke-width:2;stroke-dasharray:{DASHES[index % len(DASHES)] or 'none'}"
    line = element("line", x1=0, y1=6, x2=28, y2=6, style=stroke) if kind in ("line", "curve") else None
    shape = "M4 1h20v10h-20Z" if kind == "bar" else MARKERS[index % len(MARKERS)][1]
    sign = None if kind == "curve" else element("path", d=shape, style=f"fill:{colour}")
    return element("svg", line, sign, class_="swatch", width=28, height=12, aria_hidden="true")
