"""Progress bars for waits; they appear on a terminal only, and only once a wait has lasted two seconds."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from fuse_repro.shown import shown

T = TypeVar("T")
PATIENCE_S = 2.0


@contextmanager
def bar(description: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
    """A progress bar, drawn from the first advance after two seconds on.

    The description is plain text: a name such as "[/x]" in it is no markup.

    Args:
        description: the text before the bar.
        total: how much there is to do; None draws a pulsing bar at once, for work that cannot report how far
            it is.

    Yields:
        `advance(amount)`, to be called as the work goes on.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    console = Console(file=sys.stderr)
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
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
