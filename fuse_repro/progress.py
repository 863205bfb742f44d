"""Waits: a progress bar on a terminal, once a wait has lasted two seconds; elsewhere one line a minute on stderr."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from fuse_repro.shown import say, shown

T = TypeVar("T")
PATIENCE_S = 2.0
HEARTBEAT_S = 60.0
TICK_S = 5.0  # how often the thread looks whether a line is due
BYTES = "B"


@dataclass(eq=False)
class Wait:
    """Something that takes long, and how far it is.

    Attributes:
        what: the text before the numbers.
        total: how much there is to do; None where nobody knows.
        begun: on the clock, in seconds.
        said: when the last line was said, or when it began.
        unit: what is counted; "B" for bytes.
        done: how much of it is done.
    """

    what: str
    total: float | None
    begun: float
    said: float
    unit: str = ""
    done: float = 0.0

    def line(self, now: float) -> str:
        """What, how many of how many, the rate and the time left."""
        took = now - self.begun
        if not self.done:
            of = "" if self.total is None else f"0 of {amount(self.total, self.unit)}, "
            return f"{self.what}: {of}{duration(took)} so far"
        of = "" if self.total is None else f" of {amount(self.total, self.unit)}"
        parts = [f"{amount(self.done, self.unit)}{of}", rate(self.done / took, self.unit)]
        if self.total is not None:
            parts.append(f"about {duration(max(0.0, self.total - self.done) * took / self.done)} left")
        return f"{self.what}: {', '.join(parts)}"


class Heart:
    """Says once in `every_s` how far each wait is, and nothing of waits that are shorter.

    Args:
        say: is given every line.
        clock: the time in seconds.
        every_s: seconds between two lines of one wait.
        threaded: whether a thread beats; else whoever owns the heart calls `beat`.
    """

    def __init__(
        self,
        say: Callable[[str], None] = say,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = HEARTBEAT_S,
        threaded: bool = True,
    ) -> None:
        self._say, self._clock, self._every_s, self._threaded = say, clock, every_s, threaded
        self._waits: list[Wait] = []
        self._thread: threading.Thread | None = None

    def begin(self, what: str, total: float | None, unit: str = "") -> Wait:
        """A wait begins."""
        now = self._clock()
        wait = Wait(what, total, now, now, unit)
        self._waits.append(wait)
        if self._threaded and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._go_on, name="heartbeat", daemon=True)
            self._thread.start()
        return wait

    def end(self, wait: Wait) -> None:
        """It has ended, well or not."""
        self._waits.remove(wait)

    def beat(self) -> None:
        """Say a line of every wait that has had none for so long."""
        now = self._clock()
        for wait in list(self._waits):
            if now - wait.said >= self._every_s:
                wait.said = now
                self._say(wait.line(now))

    def _go_on(self) -> None:
        while True:
            time.sleep(TICK_S)
            try:
                self.beat()
            except (OSError, ValueError):  # nobody reads standard error any more
                return


HEART = Heart()


@contextmanager
def bar(description: str, total: float | None = None, unit: str = "") -> Iterator[Callable[[float], None]]:
    """A progress bar, drawn from the first advance after two seconds on; without a terminal a line a minute.

    The description is plain text: a name such as "[/x]" in it is no markup.

    Args:
        description: the text before the bar.
        total: how much there is to do; None draws a pulsing bar at once, for work that cannot report how far
            it is.
        unit: what is counted; "B" for bytes.

    Yields:
        `advance(amount)`, to be called as the work goes on.
    """
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        with _said(description, total, unit) as advance:
            yield advance
        return
    with _drawn(console, description, total) as advance:
        yield advance


@contextmanager
def _said(description: str, total: float | None, unit: str) -> Iterator[Callable[[float], None]]:
    wait = HEART.begin(description, total, unit)

    def advance(amount: float = 1.0) -> None:
        wait.done += amount

    try:
        yield advance
    finally:
        HEART.end(wait)


@contextmanager
def _drawn(console: Console, description: str, total: float | None) -> Iterator[Callable[[float], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task(shown(description), total=total)
    begun = time.monotonic()
    started = total is None
    if started:
        progress.start()

    def advance(amount: float = 1.0) -> None:
        nonlocal started
        if not started and time.monotonic() - begun > PATIENCE_S:
            progress.start()
            started = True
        progress.advance(task, amount)

    try:
        yield advance
    finally:
        if started:
            progress.stop()


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` with a bar.

    Args:
        items: what to iterate over.
        description: the text before the bar.
        total: how many items; None asks `len(items)` where there is one.

    Yields:
        The items.
    """
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    with bar(description, total) as advance:
        for item in items:
            yield item
            advance(1.0)


def duration(seconds: float) -> str:
    """A time as it is said: 45 s, 12 min, 1 h 5 min, 2 d 3 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    hours = round(minutes / 60)
    return f"{hours // 24} d" + (f" {hours % 24} h" if hours % 24 else "")


def rate(per_second: float, unit: str = "") -> str:
    """A speed in the unit of time that gives a number of at least one: 3.2 a second, 6 a minute, 0.5 an hour."""
    if unit == BYTES or per_second >= 1:
        return f"{amount(per_second, unit)} a second"
    if per_second * 60 >= 1:
        return f"{amount(per_second * 60)} a minute"
    return f"{amount(per_second * 3600)} an hour"


def amount(value: float, unit: str = "") -> str:
    """A number in three digits or more, with its unit; bytes in MB or GB."""
    if unit == BYTES:
        return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.1f} MB"
    text = f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"
    return f"{text} {unit}" if unit else text
