"""Plots of every metric of a sweep against every axis, with intervals over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from fuse_repro.metrics.statistics import Interval, bootstrap_interval
from fuse_repro.report.measures import PERCENT
from fuse_repro.report.plots.metric_plots import bar_plot, line_plot
from fuse_repro.report.plots.style import Plot
from fuse_repro.report.sweep_points import PointReport, is_number, is_seed

MOST_LINES, MOST_PLOTS = 6, 60
MINOR = ("BLEU-1", "BLEU-2", "BLEU-3", "ROUGE-L")  # shown on a click: others say the same
Lines = dict[str, dict[Any, Interval]]


@dataclass(frozen=True)
class AxisPlots:
    """The plots against one axis.

    Attributes:
        shown: of the main metrics.
        folded: of metrics that say the same.
    """

    shown: Sequence[Plot]
    folded: Sequence[Plot]


def sweep_plots(points: Sequence[PointReport], axes: Mapping[str, Sequence[Any]]) -> list[AxisPlots]:
    """Plots of every metric for every axis, seeds apart.

    Args:
        points: of the sweep; those that are not done count for nothing.
        axes: the swept keys that vary -> their values.
    """
    done = [point for point in points if point.state == "done"]
    metrics = dict.fromkeys(measure.metric for point in done for measure in point.measures)
    minor = [metric for metric in metrics if metric.removesuffix(PERCENT) in MINOR]
    main = [metric for metric in metrics if metric not in minor]
    parts = [
        AxisPlots(_grid(done, axes, axis, main), _grid(done, axes, axis, minor))
        for axis in axes
        if not is_seed(axis)
    ]
    return [part for part in parts if part.shown or part.folded]


def _grid(
    done: Sequence[PointReport], axes: Mapping[str, Sequence[Any]], axis: str, metrics: Sequence[str]
) -> list[Plot]:
    """One plot for a metric, or several where it would have more than 6 lines."""
    return list(
        islice((plot for metric in metrics for plot in _panels(done, axes, axis, metric)), MOST_PLOTS)
    )


def _panels(
    done: Sequence[PointReport], axes: Mapping[str, Sequence[Any]], axis: str, metric: str
) -> Iterator[Plot]:
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


def _plot(title: str, values: Sequence[Any], axis: str, lines: Lines) -> Plot:
    numeric = all(is_number(value) or value is None for value in values) and any(map(is_number, values))
    return (line_plot if numeric else bar_plot)(title, axis, lines)


def _lines(done: Sequence[PointReport], axis: str, metric: str, others: Sequence[str]) -> Lines:
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
