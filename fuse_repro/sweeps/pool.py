"""Points in processes of their own, several at a time: whatever ends one of them ends no other."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from fuse_repro.errors import UsageError
from fuse_repro.runs.state import mark_killed, wanted
from fuse_repro.sweeps.sweep import Point
from fuse_repro.sweeps.worker import run_alone

LOGS = "logs"
PRELOAD = "fuse_repro.sweeps.preload"
GRACE_S = 10.0  # for a run to end after SIGTERM
TAIL = 20  # lines of output that are kept as the traceback of a killed run


@dataclass(frozen=True)
class Slot:
    """What a running point has to itself.

    Attributes:
        threads: of torch; None is whatever is there.
        gpu: its number; None is whatever is there.
    """

    threads: int | None = None
    gpu: int | str | None = None

    def environment(self) -> dict[str, str]:
        """The environment of a process in this slot."""
        own = dict(os.environ)
        if self.threads is not None:
            own["OMP_NUM_THREADS"] = str(self.threads)
        if self.gpu is not None:
            own["CUDA_VISIBLE_DEVICES"] = str(self.gpu)
        return own


@dataclass(frozen=True)
class _Running:
    point: Point
    process: BaseProcess
    slot: Slot
    begun: float


def run_isolated(
    points: Sequence[Point],
    slots: Sequence[Slot],
    resume: str,
    on_end: Callable[[Point, float], None],
) -> None:
    """Run every point in a process of its own, as many at a time as there are slots.

    The processes are forked from a server that has loaded the libraries once. A point whose process dies is
    marked as failed.

    Args:
        points: what to run.
        slots: what each running point has to itself.
        resume: what to do with what an earlier start left; see `resume` in the root config.
        on_end: called with each point that ended and its seconds.

    Raises:
        UsageError: if the folder of logs cannot be written.
    """
    if not points:
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    logs = points[0].directory.parent / LOGS
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UsageError(f"cannot write {logs}: {err.strerror}; choose another sweep_dir") from err
    waiting, free = list(reversed(points)), list(reversed(slots))
    running: dict[int, _Running] = {}
    with _ended_at_the_end(running):
        while waiting or running:
            while waiting and free:
                point = waiting.pop()
                if wanted(point.directory, resume):  # another command may have run it meanwhile
                    started = _start(context, point, free.pop(), logs)
                    running[started.process.sentinel] = started
            for sentinel in wait(list(running)) if running else ():
                ended = running.pop(int(sentinel))  # type: ignore[arg-type]
                ended.process.join()
                _settle(ended, logs)
                free.append(ended.slot)
                on_end(ended.point, time.monotonic() - ended.begun)


def reason_of_death(code: int | None) -> str:
    """What ended a process that left no message, by its exit code."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"the process ended with exit code {code} and no result"


def tail(log: Path) -> str | None:
    """The last lines of a log; None if there is none."""
    if not log.exists():
        return None
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:])


def _start(context: ForkServerContext, point: Point, slot: Slot, logs: Path) -> _Running:
    log = logs / f"{point.id}.log"
    arguments = (point.config, point.directory, log, slot.environment(), slot.threads)
    process = context.Process(target=run_alone, args=arguments, name=point.id)
    process.start()
    return _Running(point, process, slot, time.monotonic())


def _settle(ended: _Running, logs: Path) -> None:
    reason = reason_of_death(ended.process.exitcode)
    mark_killed(ended.point.directory, reason, tail(logs / f"{ended.point.id}.log"))


@contextmanager
def _ended_at_the_end(running: Mapping[int, _Running]) -> Iterator[None]:
    """Whatever stops the command stops its points, which stay resumable."""
    try:
        yield
    finally:
        for one in running.values():
            one.process.terminate()
        deadline = time.monotonic() + GRACE_S
        for one in running.values():
            one.process.join(max(0.0, deadline - time.monotonic()))
            one.process.kill()
            one.process.join()
