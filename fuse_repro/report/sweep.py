"""report.html of a sweep: its points in one table, every metric against every axis, and what failed."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from fuse_repro.report.document import REPORT, document
from fuse_repro.report.markup import MISSING, Html, element, folded, join, number, table
from fuse_repro.report.measures import Measure
from fuse_repro.report.paper import paper_section
from fuse_repro.report.summary import tile
from fuse_repro.report.sweep_data import Point, Sweep, is_seed, read_sweep
from fuse_repro.report.sweep_plots import plots
from fuse_repro.runs.directory import write_text

STATES = ("done", "running", "interrupted", "failed", "left")
LINE = tuple[str, str]


def build_sweep_report(sweep_dir: str | os.PathLike[str]) -> Path:
    """Write `sweep_dir/report.html` from sweep.json and the run directories there; returns its path.

    Every point counts as its files say, so a sweep that failed or still goes on has a report of what it has so far.

    Raises:
        UsageError: if sweep.json is missing, damaged or of another version, or the page cannot be written.
    """
    path = Path(sweep_dir)
    sweep = read_sweep(path)
    body = [
        _header(sweep),
        element(
            "main",
            _tiles(sweep.points),
            _plots(sweep),
            paper_section([(point.config, _done(point)) for point in sweep.points]),
            _failures([point for point in sweep.points if point.state == "failed"]),
            _points(sweep),
        ),
        element("footer", "Made by fuse_repro from sweep.json and the runs beside this page."),
    ]
    write_text(path / REPORT, document(sweep.name, body))
    return path / REPORT


def _header(sweep: Sweep) -> Html:
    facts = {"Points": str(len(sweep.points))}
    facts |= {key: ", ".join(_shown(value) for value in values) for key, values in sweep.axes.items()}
    listed = [element("div", element("dt", name), element("dd", fact)) for name, fact in facts.items()]
    command = element("pre", " ".join(["fuse-repro", "-m", *sweep.command]))
    return element(
        "header",
        element("p", f"Sweep {sweep.path.absolute().name}", class_="eyebrow"),
        element("h1", sweep.name),
        element("dl", *listed, class_="facts"),
        folded("Command", command) if sweep.command else None,
    )


def _done(point: Point) -> Sequence[Measure]:
    return point.measures if point.state == "done" else ()


def _tiles(points: Sequence[Point]) -> Html:
    """How many points are in each state; a sweep that is done has only its done points shown."""
    counts = {state: sum(point.state == state for point in points) for state in STATES}
    shown = [state for state in STATES if counts[state] or state in ("done", "failed")]
    values = [
        tile(str(counts[state]), state, "alarm" if state == "failed" and counts[state] else None)
        for state in shown
    ]
    failed_items = sum(point.items[1] for point in points)
    if failed_items:
        values.append(tile(str(failed_items), "failed items", "alarm", "in points that went on"))
    return element("section", element("div", *values, class_="tiles"), aria_label="Summary")


def _plots(sweep: Sweep) -> Html | None:
    drawn = plots(sweep)
    if not drawn:
        return None
    note = (
        "Means over all seeds of the points that are done. Bands and strokes: 95% bootstrap intervals over seeds, "
        "where there are several."
    )
    return element(
        "section",
        element("h2", "Metrics against what was swept", class_="section"),
        element("p", note, class_="hint"),
        *drawn,
        class_="card",
    )


def _failures(failed: Sequence[Point]) -> Html | None:
    if not failed:
        return None
    parts = []
    for point in failed:
        error = point.damaged or point.status.get("error") or "No reason was recorded."
        trace = point.status.get("traceback")
        line = element("p", element("strong", _setting(point)), " ", element("span", error, class_="error"))
        parts.append(join([line, folded("Traceback", element("pre", trace)) if trace else None]))
    return element("section", element("h2", "Failed points"), *parts, class_="card failed")


def _points(sweep: Sweep) -> Html:
    """Every point: its state, its values on the axes, its metrics, and a link to its own page."""
    columns: dict[LINE, None] = {}
    for point in sweep.points:
        columns |= {(measure.metric, measure.line): None for measure in point.measures}
    metrics = {metric for metric, _ in columns}
    heads = [
        (line or metric) if len(metrics) == 1 or not line else f"{metric}: {line}" for metric, line in columns
    ]
    rows = [_row(point, list(sweep.axes), list(columns)) for point in sweep.points]
    only = next(iter(metrics)) if len(metrics) == 1 else None
    return element(
        "section",
        element("h2", "Points", class_="section"),
        element("p", f"{only} of every method.", class_="hint") if only and len(columns) > 1 else None,
        element(
            "div",
            table(["point", "state", *sweep.axes, *heads], rows, class_="contents points"),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_label="Points, scrollable",
        ),
        class_="card",
    )


def _row(point: Point, axes: Sequence[str], columns: Sequence[LINE]) -> list[object]:
    page = point.directory / REPORT
    name = point.id[:8]
    address = f"{point.directory.name}/{REPORT}"
    link = element("a", name, href=address) if page.exists() else element("code", name)
    state = element("span", point.state, class_=f"state {point.state}")
    values = {(measure.metric, measure.line): measure.mean for measure in point.measures}
    settings = [_shown(point.overrides[key]) if key in point.overrides else MISSING for key in axes]
    shown = (number(values.get((metric, line)), _digits(metric)) for metric, line in columns)
    return [link, state, *settings, *shown]


def _digits(metric: str) -> int:
    return 1 if metric.endswith("percent") else 3


def _setting(point: Point) -> str:
    changed = {key: value for key, value in point.overrides.items() if not is_seed(key)} or point.overrides
    return ", ".join(f"{key}={_shown(value)}" for key, value in changed.items()) or point.id


def _shown(value: object) -> str:
    return "all" if value is None else value if isinstance(value, str) else json.dumps(value)
