"""The command `fuse-repro status DIR`: how far a sweep is, as a table that follows it."""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from fuse_repro.errors import UsageError
from fuse_repro.runs.look import look_at
from fuse_repro.runs.state import FAILED, INTERRUPTED, NEW, RUNNING, RunState
from fuse_repro.shown import cell, say
from fuse_repro.sweeps.outcome import Counts
from fuse_repro.sweeps.slurm_queue import PENDING, living_points, read_jobs
from fuse_repro.sweeps.sweep import Sweep, read_sweep

REFRESH_S = 2.0
SHOWN = 30
COLOURS = {"done": "green", "failed": "red", "running": "cyan", "queued": "yellow"}


def main(argv: Sequence[str]) -> int:
    """Show the sweep in DIR until every point has ended, or once.

    Args:
        argv: the arguments after `status`.

    Returns:
        The exit code: 0; 1 if a point failed; 2 with one line on standard error if DIR holds no sweep.
    """
    parser = argparse.ArgumentParser(
        prog="fuse-repro status", description="How many points of a sweep are done, running, failed and left."
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="sweep directory, with sweep.json in it")
    parser.add_argument("--once", action="store_true", help="print the table once and leave")
    arguments = parser.parse_args(argv)
    try:
        return _show(arguments.directory, arguments.once)
    except UsageError as error:
        say(error, "fuse-repro status")
        return 2
    except KeyboardInterrupt:
        return 0


def _show(directory: Path, once: bool) -> int:
    console = Console()
    sweep, states = look(directory)
    if once or not console.is_terminal:
        console.print(table(sweep, states))
    else:
        with Live(table(sweep, states), console=console, refresh_per_second=4) as live:
            while any(state.state not in ("done", FAILED) for state in states.values()):
                time.sleep(REFRESH_S)
                sweep, states = look(directory)
                live.update(table(sweep, states))
    return int(Counts.of(states.values()).failed > 0)


def look(directory: Path) -> tuple[Sweep, dict[str, RunState]]:
    """The sweep, and the state of each of its points with what Slurm knows.

    A point whose job waits is "queued"; one whose job ended without a result, or whose files are damaged, has failed.
    What else cannot be read is in the sweep's `damage`.

    Raises:
        UsageError: if there is no sweep in `directory`, or Slurm does not answer.
    """
    sweep = read_sweep(directory)
    states = {key: point.state for key, point in sweep.points.items()}
    open_points = [sweep.points[key] for key, state in states.items() if state.state in (NEW, INTERRUPTED)]
    try:
        jobs = read_jobs(directory)
    except UsageError as error:
        sweep.damage.append(str(error))
        return sweep, states
    alive = living_points(directory, open_points)
    for point in open_points:
        if point.id in alive:
            queued = alive[point.id] in PENDING
            states[point.id] = RunState("queued" if queued else RUNNING, f"job {jobs[point.id]}")
        elif point.id in jobs:
            states[point.id] = RunState(FAILED, f"the Slurm job {jobs[point.id]} ended without a result")
    return sweep, states


def table(sweep: Sweep, states: Mapping[str, RunState]) -> Group:
    """The counts, and the points of most interest: those that run, those that failed, then the rest."""
    order = [RUNNING, FAILED, "queued", INTERRUPTED, NEW, "done"]
    keys = sorted(states, key=lambda key: order.index(states[key].state))
    rows = Table("point", "state", "items", "note", expand=False)
    for key in keys[:SHOWN]:
        point, state = sweep.points[key], states[key]
        shown = cell(state.state, style=COLOURS.get(state.state, "dim"))
        items = str(len(look_at(point.directory).records) or "")
        rows.add_row(cell(point.label), shown, items, cell(state.error or ""))
    more = [cell(f"... and {len(keys) - SHOWN} more")] if len(keys) > SHOWN else []
    counts = cell(f"{sweep.name}: {Counts.of(states.values())}", style="bold")
    return Group(counts, *(cell(line, style="red") for line in sweep.damage), rows, *more)
