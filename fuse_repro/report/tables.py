"""What runs measured, as rows for a paper: one per point of a sweep and method, in LaTeX and CSV, with intervals."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuse_repro.metrics.statistics import Interval, bootstrap_interval
from fuse_repro.report.formats import number
from fuse_repro.report.measures import PERCENT, Measure, measures
from fuse_repro.report.readable import readable
from fuse_repro.report.sweep_points import point_reports, varying_axes
from fuse_repro.runs.look import look_at
from fuse_repro.runs.sweep_file import is_sweep, read_sweep
from fuse_repro.shown import shown

ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip
Estimates = dict[str, Interval]  # metric -> mean and interval


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        run: the name of the run's directory.
        setting: swept key -> value; empty for a single run.
        method: "" where a run has only one.
        found: metric -> its mean, 95% interval and number of replicates.
    """

    run: str
    setting: Mapping[str, Any]
    method: str
    found: Estimates = field(default_factory=dict)


def table_rows(directory: Path) -> list[Row]:
    """The rows of a run, or of all points of a sweep that are done.

    Intervals are those of the run's results where it has them, else over its seeds.

    Raises:
        UsageError: neither a run nor a sweep.
    """
    if not is_sweep(directory):
        files = look_at(directory)
        records, results, _ = readable(measures, files.records, files.results)
        return list(_rows(directory.absolute().name, {}, measures(records, results), results))
    points = [point for point in point_reports(read_sweep(directory)) if point.state == "done"]
    axes = varying_axes(points)
    rows: list[Row] = []
    for point in points:
        own = {key: point.overrides.get(key) for key in axes}
        results = look_at(point.point.directory).results
        rows += _rows(point.point.directory.name, own, point.measures, results)
    return rows


def _rows(
    run: str, setting: Mapping[str, Any], found: Sequence[Measure], results: Mapping[str, Any]
) -> Iterator[Row]:
    rows: dict[str, Estimates] = {}
    known = dict(_intervals(results))
    for measure in found:
        over_seeds = bootstrap_interval(measure.replicates)
        rows.setdefault(measure.line, {})[measure.metric] = known.get(measure.line, over_seeds)
    for method, estimates in rows.items():
        yield Row(run, setting, method, estimates)


def _intervals(results: Mapping[str, Any]) -> Iterator[tuple[str, Interval]]:
    """Method -> mean and interval in percent over tasks and seeds, of a transfer."""
    for name, row in (results.get("methods") or {}).items():
        if isinstance(row, dict) and "mean_over_relations" in row:
            low, high = (None if row[end] is None else 100 * row[end] for end in ("low", "high"))
            yield (
                str(name),
                Interval(100 * row["mean_over_relations"], low, high, len(row.get("tasks") or {})),
            )


def csv_table(rows: Sequence[Row]) -> str:
    """One line per row and metric, in full precision."""
    axes = list(dict.fromkeys(key for row in rows for key in row.setting))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", *axes, "method", "metric", "mean", "low", "high", "values"])
    for row in rows:
        setting = ["" if row.setting.get(key) is None else row.setting[key] for key in axes]
        for metric, value in row.found.items():
            ends = ["" if end is None else end for end in (value.low, value.high)]
            writer.writerow([row.run, *setting, row.method, metric, value.mean, *ends, value.count])
    return text.getvalue()


def latex_table(rows: Sequence[Row]) -> str:
    """A table for booktabs: a row per point and method, a column per metric, with intervals where there are some."""
    axes = list(dict.fromkeys(key for row in rows for key in row.setting))
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.found))
    named = any(row.method for row in rows)
    head = [*axes, *(["method"] if named else []), *metrics]
    lines = [
        "% needs \\usepackage{booktabs}; intervals are 95%",
        f"\\begin{{tabular}}{{{'l' * (len(axes) + named)}{'r' * len(metrics)}}}",
        "\\toprule",
        _line(head),
        "\\midrule",
    ]
    for row in rows:
        setting = ["all" if row.setting.get(key) is None else str(row.setting[key]) for key in axes]
        cells = [_cell(row.found.get(metric), metric) for metric in metrics]
        lines.append(_line([*setting, *([row.method] if named else []), *cells]))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _cell(value: Interval | None, metric: str) -> str:
    if value is None:
        return "--"
    digits = 1 if metric.endswith(PERCENT) else 3
    mean = number(value.mean, digits)
    if value.low is None or value.high is None:
        return mean
    return f"{mean} [{number(value.low, digits)}, {number(value.high, digits)}]"


def _line(cells: Sequence[str]) -> str:
    return " & ".join("".join(ESCAPED.get(sign, sign) for sign in shown(cell)) for cell in cells) + r" \\"
