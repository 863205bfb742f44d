"""Plots of every metric of a sweep against every axis, with intervals over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from fuse_repro.metrics.statistics import Interval, bootstrap_interval
from fuse_repro.report.markup import Html, element, folded
from fuse_repro.report.plots import bar_plot, line_plot
from fuse_repro.report.sweep_data import Point, Sweep, is_number, is_seed

MOST_LINES, MOST_PLOTS = 6, 60
MINOR = ("BLEU-1", "BLEU-2", "BLEU-3", "ROUGE-L")  # shown on a click: others say the same
Lines = dict[str, dict[Any, Interval]]


def plots(sweep: Sweep) -> list[Html]:
    """For every axis a part with a plot of every metric; minor metrics are folded away."""
    done = [point for point in sweep.points if point.state == "done"]
    metrics = dict.fromkeys(measure.metric for point in done for measure in point.measures)
    main = [metric for metric in metrics if metric not in MINOR]
    minor = [metric for metric in metrics if metric in MINOR]
    parts = []
    for axis in (key for key in sweep.axes if not is_seed(key)):
        shown, more = (_grid(done, sweep.axes, axis, chosen) for chosen in (main, minor))
        folded_away = more and folded("More metrics", more)
        if shown or more:
            parts.append(element("section", shown, folded_away))
    return parts


def _grid(
    done: Sequence[Point], axes: Mapping[str, Sequence[Any]], axis: str, metrics: Sequence[str]
) -> Html | None:
    """Plots side by side: one for a metric, or several where it would have more than 6 lines."""
    drawn = list(
        islice((plot for metric in metrics for plot in _panels(done, axes, axis, metric)), MOST_PLOTS)
    )
    return element("div", *drawn, class_="plots") if drawn else None


def _panels(
    done: Sequence[Point], axes: Mapping[str, Sequence[Any]], axis: str, metric: str
) -> Iterator[Html]:
    others = {key: values for key, values in axes.items() if key != axis and not is_seed(key)}
    lines = _lines(done, axis, metric, list(others))
    if not lines:
        return
    if len(lines) <= MOST_LINES or not others:
        yield _plot(f"{metric} against {axis}", axes[axis], axis, lines)
        return
    for chosen in product(*others.values()):
        fixed = dict(zip(others, chosen, strict=True))
        some = [point for point in done if all(point.overrides.get(key) == fixed[key] for key in fixed)]
        if lines := _lines(some, axis, metric, []):
            yield _plot(f"{metric} against {axis}, {_setting(fixed)}", axes[axis], axis, lines)


def _plot(title: str, values: Sequence[Any], axis: str, lines: Lines) -> Html:
    numeric = all(is_number(value) or value is None for value in values) and any(map(is_number, values))
    return (line_plot if numeric else bar_plot)(title, axis, lines)


def _lines(done: Sequence[Point], axis: str, metric: str, others: Sequence[str]) -> Lines:
    """Name of the line -> value on the axis -> mean and interval over all seeds there."""
    values: dict[str, dict[Any, list[float]]] = {}
    for point in done:
        if axis not in point.overrides:
            continue
        setting = _setting({key: point.overrides.get(key) for key in others})
        for measure in point.measures:
            if measure.metric == metric:
                name = " · ".join(part for part in (measure.line, setting) if part)
                cell = values.setdefault(name, {}).setdefault(point.overrides[axis], [])
                cell.extend(measure.replicates)
    return {name: {x: bootstrap_interval(cell) for x, cell in line.items()} for name, line in values.items()}


def _setting(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={'all' if value is None else value}" for key, value in values.items())
