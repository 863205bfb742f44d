"""The command `fuse-repro status DIR`: how far a run or a sweep is, as a table that follows it."""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from fuse_repro.errors import UsageError
from fuse_repro.progress import duration, rate
from fuse_repro.runs.directory import MANIFEST, STATUS
from fuse_repro.runs.standing import Standing, standing, together
from fuse_repro.runs.state import DONE, FAILED, INTERRUPTED, NEW, RUNNING, RunState, run_state
from fuse_repro.runs.sweep_file import is_sweep
from fuse_repro.shown import cell, say
from fuse_repro.sweeps.outcome import Counts
from fuse_repro.sweeps.slurm_queue import PENDING, living_points, read_jobs
from fuse_repro.sweeps.sweep import Sweep, read_sweep

REFRESH_S = 2.0
SHOWN = 30
COLOURS = {"done": "green", "failed": "red", "running": "cyan", "queued": "yellow"}


def main(argv: Sequence[str]) -> int:
    """Show the run or the sweep in DIR until all of it has ended, or once.

    Args:
        argv: the arguments after `status`.

    Returns:
        The exit code: 0; 1 if the run or a point failed; 2 with one line on standard error if DIR holds neither.
    """
    parser = argparse.ArgumentParser(
        prog="fuse-repro status",
        description="How many items of a run, or points of a sweep, are done, failed and left, and the time left.",
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="directory of a run or of a sweep")
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
    read = (lambda: run_view(directory)) if is_run(directory) else (lambda: sweep_view(directory))
    view = read()
    if once or not console.is_terminal:
        console.print(view.shown)
    else:
        with Live(view.shown, console=console, refresh_per_second=4) as live:
            while not view.ended:
                time.sleep(REFRESH_S)
                view = read()
                live.update(view.shown)
    return int(view.failed)


@dataclass(frozen=True)
class View:
    """What is shown of a directory; whether all of it has ended, and whether anything failed."""

    shown: Group
    ended: bool
    failed: bool


def is_run(directory: Path) -> bool:
    """Whether this is the directory of one run."""
    return not is_sweep(directory) and any((directory / name).is_file() for name in (MANIFEST, STATUS))


def run_view(directory: Path) -> View:
    """How far the run in `directory` is."""
    state = run_state(directory)
    note = [cell(state.error, style="red")] if state.error else []
    title = cell(f"{directory}: {state.state}", style=COLOURS.get(state.state, "bold"))
    rest = _time_left(standing(directory)) if state.state == RUNNING else ""
    lines = [title, cell(f"items: {standing(directory)}{rest}"), *note]
    return View(Group(*lines), state.state != RUNNING, state.state == FAILED)


def sweep_view(directory: Path) -> View:
    """How far the sweep in `directory` is."""
    sweep, states = look(directory)
    ended = all(state.state in (DONE, FAILED) for state in states.values())
    return View(table(sweep, states), ended, Counts.of(states.values()).failed > 0)


def _time_left(found: Standing) -> str:
    """The end of a line on what is left."""
    if not found.left or found.seconds_left is None or found.seconds is None:
        return ""
    pace = rate(1 / found.seconds) if found.seconds else "at once"
    return f"; {pace}, about {duration(found.seconds_left)} left"


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
    """The totals, and the points of most interest: those that run, those that failed, then the rest."""
    order = [RUNNING, FAILED, "queued", INTERRUPTED, NEW, DONE]
    keys = sorted(states, key=lambda key: order.index(states[key].state))
    found = {key: standing(sweep.points[key].directory) for key in keys}
    rows = Table("point", "state", "items", "time left", "note", expand=False)
    for key in keys[:SHOWN]:
        point, state = sweep.points[key], states[key]
        shown = cell(state.state, style=COLOURS.get(state.state, "dim"))
        seen = found[key].done + found[key].failed > 0 or found[key].total is not None
        counted = str(found[key]) if seen else ""
        seconds = found[key].seconds_left if state.state == RUNNING else None
        left = "" if seconds is None else duration(seconds)
        rows.add_row(cell(point.label), shown, counted, left, cell(state.error or ""))
    more = [cell(f"... and {len(keys) - SHOWN} more")] if len(keys) > SHOWN else []
    counts = cell(f"{sweep.name}: {Counts.of(states.values())}, of {len(keys)} points", style="bold")
    items = cell(f"items: {_all_items(found, states)}")
    return Group(counts, items, *(cell(line, style="red") for line in sweep.damage), rows, *more)


def _all_items(found: Mapping[str, Standing], states: Mapping[str, RunState]) -> str:
    """The items of all points, and the time left while some of them run."""
    running = sum(state.state == RUNNING for state in states.values())
    whole = together(found.values())
    still = [found[key] for key, state in states.items() if state.state not in (DONE, FAILED)]
    if not running or whole.total is None:
        return str(whole)
    average = whole.total / len(found)
    expected = [replace(one, total=round(average) if one.total is None else one.total) for one in still]
    left = replace(together(expected, running), seconds=together(found.values(), running).seconds)
    return f"{whole}{_time_left(left)}"
