"""report.html of a sweep: its points in one table, every metric against every axis, and what failed."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.report.formats import MISSING, number
from fuse_repro.report.measures import PERCENT, Measure
from fuse_repro.report.pages.paper import paper_table
from fuse_repro.report.pages.parts import Tile
from fuse_repro.report.plots.sweep import sweep_plots
from fuse_repro.report.rendering import REPORT, render
from fuse_repro.report.sweep_points import PointReport, is_seed, point_reports, varying_axes
from fuse_repro.runs.files import write_text
from fuse_repro.runs.merged import MERGED
from fuse_repro.runs.sweep_file import read_sweep

STATES = ("done", "running", "interrupted", "failed", "left")
Axes = Mapping[str, Sequence[Any]]


def build_sweep_report(sweep_dir: str | os.PathLike[str]) -> Path:
    """Write `sweep_dir/report.html` from sweep.json and the run directories there.

    Every point counts as its files say. A sweep that failed or still goes on has a report of what it has so
    far.

    Args:
        sweep_dir: the sweep directory.

    Returns:
        The path of the report.

    Raises:
        UsageError: if sweep.json is missing, of another version or damaged without a point, or the page cannot be
            written.
    """
    path = Path(sweep_dir)
    sweep = read_sweep(path)
    points = point_reports(sweep)
    axes = varying_axes(points)
    facts = {"Points": str(len(points))}
    facts |= {key: ", ".join(_shown(value) for value in values) for key, values in axes.items()}
    if (path / MERGED / REPORT).exists():
        facts["Merged result"] = f"{MERGED}/{REPORT}"
    page = render(
        "sweep.html.j2",
        title=str(sweep.name or path.name),
        directory=path.absolute().name,
        facts=facts,
        damage=sweep.damage,
        command=" ".join(["fuse-repro", "-m", *sweep.overrides]) if sweep.overrides else None,
        tiles=_tiles(points),
        plots=sweep_plots(points, axes),
        paper=paper_table([(point.config, _done(point)) for point in points if not point.is_shard]),
        failures=[_failure(point) for point in points if point.state == "failed"],
        table=_table(points, axes),
    )
    write_text(path / REPORT, page)
    return path / REPORT


def _done(point: PointReport) -> Sequence[Measure]:
    return point.measures if point.state == "done" else ()


def _tiles(points: Sequence[PointReport]) -> list[Tile]:
    """How many points are in each state; a sweep that is done has only its done points shown."""
    counts = {state: sum(point.state == state for point in points) for state in STATES}
    shown = [state for state in STATES if counts[state] or state in ("done", "failed")]
    tiles = [
        Tile(str(counts[state]), state, alarm=state == "failed" and counts[state] > 0) for state in shown
    ]
    failed_items = sum(point.failed_items for point in points)
    if failed_items:
        tiles.append(Tile(str(failed_items), "failed items", "in points that went on", alarm=True))
    return tiles


def _failure(point: PointReport) -> dict[str, str | None]:
    overrides = point.overrides
    changed = {key: value for key, value in overrides.items() if not is_seed(key)} or overrides
    setting = ", ".join(f"{key}={_shown(value)}" for key, value in changed.items()) or point.point.id
    error = point.error or "No reason was recorded."
    return {"setting": setting, "error": error, "traceback": point.traceback}


def _table(points: Sequence[PointReport], axes: Axes) -> dict[str, Any]:
    """Every point: its state, its values on the axes, its metrics, and the address of its own page."""
    columns: dict[tuple[str, str], None] = {}
    for point in points:
        columns |= {(measure.metric, measure.line): None for measure in point.measures}
    metrics = {metric for metric, _ in columns}
    heads = [
        (line or metric) if len(metrics) == 1 or not line else f"{metric}: {line}" for metric, line in columns
    ]
    return {
        "only_metric": next(iter(metrics)) if len(metrics) == 1 and len(columns) > 1 else None,
        "head": ["point", "state", *axes, *heads],
        "rows": [_row(point, axes, list(columns)) for point in points],
    }


def _row(point: PointReport, axes: Axes, columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    directory = point.point.directory
    values = {(measure.metric, measure.line): measure.mean for measure in point.measures}
    settings = [_shown(point.overrides[key]) if key in point.overrides else MISSING for key in axes]
    shown = (number(values.get((metric, line)), _digits(metric)) for metric, line in columns)
    return {
        "name": point.point.id[:8],
        "address": f"{directory.name}/{REPORT}" if (directory / REPORT).exists() else None,
        "state": point.state,
        "cells": [*settings, *shown],
    }


def _digits(metric: str) -> int:
    return 1 if metric.endswith(PERCENT) else 3


def _shown(value: object) -> str:
    return "all" if value is None else value if isinstance(value, str) else json.dumps(value)
