"""Plots of a metric: lines with intervals over a numeric axis, grouped bars over names, and scatter plots.

The title names the metric, since a label beside the axis would have no room on a narrow screen.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fuse_repro.metrics.statistics import Interval
from fuse_repro.report.formats import number
from fuse_repro.report.plots.style import (
    MUTED,
    Drawing,
    Plot,
    canvas,
    dash,
    finished,
    legend,
    marker,
    placeholder,
)
from fuse_repro.shown import shown

SIZE_INCHES = (4.8, 2.8)
LOG_FROM = 8  # an axis whose values span at least this factor is logarithmic
MOST_TICKS = 8
LABEL_SHARE = 0.062  # height of a line of text, as a share of the plot's
Number = float | int
Lines = Mapping[str, Mapping[Any, Interval]]  # name of the line -> value on the axis -> the metric there


def line_plot(title: str, axis: str, lines: Lines, dots: bool = True) -> Plot:
    """The metric against a numeric axis, one line per name with a band from low to high.

    None on the axis stands for "all" and comes last. An axis of positive values that span a factor of 8 or
    more is logarithmic. Lines that the axis does not change, such as baselines, are thin and named at their
    end, unless there is no other.

    Args:
        title: names the metric.
        axis: names the axis.
        lines: name of the line -> value on the axis -> the metric there.
        dots: whether every value is marked, and named on the axis; without them the line is a curve.
    """
    values = sorted({x for line in lines.values() for x in line}, key=lambda x: (x is None, x or 0))
    places, logarithmic = _places(values)
    level = {name: line for name, line in lines.items() if _is_level(line)}
    moving = {name: line for name, line in lines.items() if name not in level} or dict(lines)
    with canvas(title, SIZE_INCHES) as (figure, axes):
        for index, line in enumerate(moving.values()):
            known = [value for value in values if value in line]
            xs = [places[value] for value in known]
            mean = [line[x].mean for x in known]
            colour, sign = placeholder(index), marker(index) if dots else None
            if any(line[value].count > 1 for value in known):
                low, high = zip(*(_band(line[x]) for x in known), strict=True)
                axes.fill_between(xs, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(xs, mean, color=colour, marker=sign, ms=4.5, linestyle=dash(index), lw=1.7)
        if len(moving) < len(lines):
            _draw_levels(axes, level)
        if dots and logarithmic:
            axes.set_xscale("log")
            axes.xaxis.minorticks_off()
        if dots:
            ticked = values[:: math.ceil(len(values) / MOST_TICKS)]
            axes.set_xticks([places[value] for value in ticked], [_tick(value) for value in ticked])
        said = _said(lines if dots else {name: _ends(line) for name, line in lines.items()})
        names, kind = list(moving), "line" if dots else "curve"
        drawing = _finish(figure, axes, axis, "y", f"{title}. {said}", names, kind)
    return Plot(title, drawing, legend(names, kind))


def bar_plot(title: str, axis: str, lines: Lines) -> Plot:
    """The metric for every name on the axis, one bar per line with its interval."""
    names = list(dict.fromkeys(x for line in lines.values() for x in line))
    width = 0.8 / max(1, len(lines))
    with canvas(title, SIZE_INCHES) as (figure, axes):
        for index, line in enumerate(lines.values()):
            known = [name for name in names if name in line]
            xs = [names.index(name) + (index - (len(lines) - 1) / 2) * width for name in known]
            means = [line[name].mean for name in known]
            bands = [_band(line[name]) for name in known]
            reach = [[line[n].mean - low for n, (low, _) in zip(known, bands, strict=True)]]
            reach.append([high - line[n].mean for n, (_, high) in zip(known, bands, strict=True)])
            axes.bar(xs, means, 0.9 * width, color=placeholder(index))
            if any(line[name].count > 1 for name in known):
                axes.errorbar(xs, means, reach, fmt="none", ecolor=MUTED, elinewidth=1.2)
        axes.set_xticks(range(len(names)), [_tick(name) for name in names])
        drawing = _finish(figure, axes, axis, "y", f"{title}. {_said(lines)}", list(lines), "bar")
    return Plot(title, drawing, legend(list(lines), "bar"))


def scatter_plot(
    title: str, axis: str, groups: Mapping[str, Sequence[tuple[float, float]]], joined: bool = False
) -> Plot:
    """Points (x, y) of every group.

    Args:
        title: names the metric.
        axis: names the axis.
        groups: name -> its points.
        joined: whether each group is drawn as a path.
    """
    with canvas(title, SIZE_INCHES) as (figure, axes):
        for index, points in enumerate(groups.values()):
            xs, ys = [x for x, _ in points], [y for _, y in points]
            style: Any = dash(index) if joined else "none"
            axes.plot(
                xs, ys, color=placeholder(index), marker=marker(index), markersize=4, linestyle=style, lw=1.3
            )
        count = sum(len(points) for points in groups.values())
        label = f"{title}: {count} points of {', '.join(groups)}"
        names, kind = list(groups), "line" if joined else "marker"
        drawing = _finish(figure, axes, axis, "both", label, names, kind)
    return Plot(title, drawing, legend(names, kind))


def _band(value: Interval) -> tuple[float, float]:
    """From where to where the band reaches; without an interval it has no width."""
    low, high = value.low, value.high
    return (value.mean if low is None else low), (value.mean if high is None else high)


def _places(values: Sequence[Number | None]) -> tuple[dict[Any, float], bool]:
    """Where each value stands on the axis, and whether the axis is logarithmic."""
    known = [value for value in values if value is not None]
    logarithmic = bool(known) and known[0] > 0 and known[-1] / known[0] >= LOG_FROM
    places: dict[Any, float] = {value: float(value) for value in known}
    if None in values:
        last, before = (known[-1], known[-2]) if len(known) > 1 else (*known[-1:], 0) if known else (1, 0)
        places[None] = last * max(2, last / before) if logarithmic else last + (last - before or 1)
    return places, logarithmic


def _tick(value: object) -> str:
    return "all" if value is None else f"{value:g}" if isinstance(value, float) else shown(value)


def _said(lines: Lines) -> str:
    """The plot in words."""
    return "; ".join(
        f"{name or 'value'}: " + ", ".join(f"{_tick(x)} {number(y.mean)}" for x, y in line.items())
        for name, line in lines.items()
    )


def _ends(line: Mapping[Any, Interval]) -> dict[Any, Interval]:
    """The first and the last value of a curve, which is too long to be said in words."""
    ends = min(line), max(line)
    return {x: line[x] for x in ends}


def _is_level(line: Mapping[Any, Interval]) -> bool:
    """Whether the axis changes nothing."""
    means = [y.mean for y in line.values()]
    return len(means) > 1 and max(means) - min(means) <= 1e-9 * max(1.0, abs(means[0]))


def _draw_levels(axes: Any, level: Lines) -> None:
    """Thin lines with their names at the right, pushed apart where they would overlap."""
    heights = sorted((next(iter(line.values())).mean, name) for name, line in level.items())
    for height, _ in heights:
        axes.axhline(height, color=MUTED, linewidth=0.7, linestyle=(0, (2, 2)))
    bottom, top = axes.get_ylim()
    places = spread([height for height, _ in heights], LABEL_SHARE * (top - bottom))
    for (height, name), place in zip(heights, places, strict=True):
        axes.annotate(
            shown(name),
            xy=(1, height),
            xytext=(1.05, place),
            xycoords=("axes fraction", "data"),
            va="center",
            color=MUTED,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 0},
        )


def spread(heights: Sequence[float], apart: float) -> list[float]:
    """Places at least `apart` from each other, in the same order and as near to `heights` as possible.

    Near is by least squares. Solved by pooling neighbours (isotonic regression of the heights less their
    ranks).

    Args:
        heights: ascending.
        apart: the least distance.
    """
    pools: list[list[float]] = []
    for rank, height in enumerate(heights):
        pools.append([height - rank * apart])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2].extend(pools.pop())
    means = [fmean(pool) for pool in pools for _ in pool]
    return [mean + rank * apart for rank, mean in enumerate(means)]


def _finish(
    figure: Any, axes: Any, axis: str, grid: str, label: str, names: Sequence[str], kind: str
) -> Drawing:
    axes.set_xlabel(shown(axis), color=MUTED)
    axes.ticklabel_format(axis="y", useOffset=False)
    return finished(figure, axes, grid, label, names, kind)
