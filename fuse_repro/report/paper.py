"""The papers' values beside those of runs that name the cell they reproduce."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fuse_repro.data.paper_values import CELLS
from fuse_repro.errors import UsageError, require
from fuse_repro.metrics.statistics import Interval, bootstrap_interval
from fuse_repro.report.formats import MISSING, limits, number
from fuse_repro.report.measures import PERCENT, Measure, measures
from fuse_repro.report.readable import readable
from fuse_repro.runs.directory import MANIFEST
from fuse_repro.runs.look import look_at
from fuse_repro.runs.seal import SHARD
from fuse_repro.runs.state import DONE


@dataclass(frozen=True)
class Row:
    """One number of a paper, and ours.

    Attributes:
        cell: of the paper.
        source: paper and table.
        name: metric or method.
        paper: the paper's value in percent.
        ours: percent over all runs and seeds of the cell; None where none is done.
    """

    cell: str
    source: str
    name: str
    paper: float
    ours: Interval | None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in percentage points; None where ours is not there."""
        return None if self.ours is None else self.ours.mean - self.paper


def compare(
    found: Mapping[str, Sequence[Sequence[Measure]]], cells: Iterable[str] | None = None
) -> list[Row]:
    """A row for every number of these cells.

    Args:
        found: cell -> the measures of each of its runs.
        cells: which cells; None for all.

    Raises:
        UsageError: for a cell that is in no paper.
    """
    for cell in found:
        check_cell(cell)
    rows = []
    for cell in CELLS if cells is None else cells:
        for name, value in CELLS[cell].values.items():
            ours = [one for run in found.get(cell, ()) for m in run for one in _percent(m, name)]
            interval = bootstrap_interval(ours) if ours else None
            rows.append(Row(cell, CELLS[cell].source, name, value, interval))
    return rows


def check_cell(cell: str) -> None:
    """Refuse a cell that is in no paper.

    Raises:
        UsageError: for such a cell.
    """
    known = "a cell of a paper, as listed by `fuse-repro report --paper`, or null"
    require(cell in CELLS, "paper_cell", cell, known)


def _percent(measure: Measure, name: str) -> tuple[float, ...]:
    """The measure's values in percent if it is the one of this name; else none.

    A name is a method's, for its precision@1, or a caption metric's. Metrics of captions with a sentiment are
    named by both, such as "positive METEOR".
    """
    metric = f"{measure.line} {measure.metric.removesuffix(PERCENT)}".strip()
    wanted = measure.metric.endswith(PERCENT) and name in (measure.line, metric)
    return measure.replicates if wanted else ()


def collect(
    folders: Sequence[Path], left_out: Callable[[str], None] = lambda line: None
) -> dict[str, list[list[Measure]]]:
    """Cell -> measures of every finished run below these folders that names it; a shard is no run of its own.

    Args:
        folders: with runs somewhere below them.
        left_out: is told of every run that is damaged, or names a cell that is in no paper.

    Raises:
        UsageError: if a folder is missing.
    """
    found: dict[str, list[list[Measure]]] = {}
    for run in dict.fromkeys(path.parent for folder in folders for path in _manifests(folder)):
        files = look_at(run)
        cell = (files.manifest.get("config") or {}).get("paper_cell")
        records, results, odd = readable(measures, files.records, files.results)
        known = cell is None or (isinstance(cell, str) and cell in CELLS)
        unknown = [] if known else [f"{run}: paper_cell={cell!r:.60} is in no paper"]
        if damage := [*files.damage, *odd, *unknown]:
            left_out(f"left out: {'; '.join(damage)}")
        elif cell and SHARD not in files.manifest and (files.status or {}).get("state") == DONE:
            found.setdefault(str(cell), []).append(measures(records, results))
    return found


def _manifests(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is no folder; give run directories, sweep directories or a folder of them"
        )
    return sorted(folder.rglob(MANIFEST))


def print_comparison(rows: Sequence[Row], console: Console | None = None) -> None:
    """The rows for the terminal, a table for every source; cells that were not run are marked."""
    console = console or Console()
    for source, of_source in groupby(rows, key=lambda row: row.source):
        shown = Table(
            title=f"{source}: percent, ours with its 95% interval over runs and seeds", title_justify="left"
        )
        shown.add_column("cell", no_wrap=True)
        for name in ("paper", "ours", "difference"):
            shown.add_column(name, justify="right")
        for cell, of_cell in groupby(of_source, key=lambda row: row.cell):
            shown.add_section()
            shown.add_row(f"[bold]{cell}[/bold]")
            for row in of_cell:
                style = None if row.ours else "dim"
                shown.add_row(
                    f"  {row.name}", f"{row.paper:.2f}", ours_text(row), difference_text(row), style=style
                )
        console.print(shown)


def ours_text(row: Row) -> str:
    """Our mean, with its interval where there are several values."""
    ours = row.ours
    if ours is None:
        return "not run"
    shown = limits(vars(ours))
    return f"{ours.mean:.2f}" + (f" ({shown})" if shown else "")


def difference_text(row: Row) -> str:
    """The difference with its sign; a dash where ours is not there."""
    sign = "+" if (row.difference or 0) > 0 else ""
    return MISSING if row.difference is None else f"{sign}{number(row.difference, 2)}"
