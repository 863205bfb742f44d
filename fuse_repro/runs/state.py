"""How far the run in a directory is, seen from outside; and what becomes of a run that was killed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuse_repro.runs import lock as run_lock
from fuse_repro.runs.directory import RECORDS, STATUS, read_records, write_status
from fuse_repro.runs.look import first_damage, read_object

DONE, FAILED, RUNNING, INTERRUPTED, NEW = "done", "failed", "running", "interrupted", "new"
STATES = (DONE, FAILED, RUNNING, INTERRUPTED)


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    A run that says it is running while no process holds its lock was killed: it is interrupted.

    Attributes:
        state: new, running, interrupted, failed or done.
        error: one line, or None.
        updated: ISO time in UTC of the last change of the status, or None.
    """

    state: str
    error: str | None = None
    updated: str | None = None


def run_state(path: Path) -> RunState:
    """The state of the run in `path`. One that is not at work and whose files are damaged has failed."""
    status = _status(path)
    state = str(status.get("state", NEW))
    if state not in (DONE, FAILED) and run_lock.is_held(path / RECORDS):
        state = RUNNING
    elif state == RUNNING:
        state = INTERRUPTED
    error, updated = status.get("error"), status.get("updated")
    if state in (FAILED, RUNNING):
        return RunState(state, error, updated)
    if damage := first_damage(path):
        return RunState(FAILED, damage, updated)
    if state not in (*STATES, NEW):
        return RunState(
            FAILED, f"{path / STATUS} is damaged: state is {state!r}, none of {', '.join(STATES)}"
        )
    return RunState(state, error, updated)


def failed_records(path: Path) -> int:
    """How many items of the run failed."""
    return sum(record.get("status") == "failed" for record in read_records(path))


def wanted(path: Path, resume: str) -> bool:
    """Whether the run in `path` is to be entered again under this policy.

    A run that another process works on is never entered.

    Args:
        path: the run directory.
        resume: "skip_done" leaves runs that ended, well or not; "retry_failed" enters those again that
            failed, as a whole or in some of their items; "all" enters every one.
    """
    state = run_state(path).state
    if state == RUNNING:
        return False
    if resume == "all" or state in (NEW, INTERRUPTED):
        return True
    if resume == "skip_done":
        return False
    return state == FAILED or failed_records(path) > 0


def mark_killed(path: Path, reason: str, trace: str | None = None, interrupted: bool = False) -> None:
    """Write the status "failed" for a run whose process died without a word.

    A run that said how it ended, or is at work in another process, is left alone.

    Args:
        path: the run directory.
        reason: one line.
        trace: the traceback, where there is one.
        interrupted: whether to mark a run that said it was interrupted, too.
    """
    status = _status(path)
    said = status.get("state", NEW)
    silent = said in (NEW, RUNNING) or (interrupted and said == INTERRUPTED)
    if silent and not run_lock.is_held(path / RECORDS):
        write_status(path, FAILED, reason, trace, status.get("items"))


def _status(path: Path) -> Mapping[str, Any]:
    """What status.json says, as far as it can be read."""
    return read_object(path / STATUS, []) or {}
