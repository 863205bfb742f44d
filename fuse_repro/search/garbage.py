"""Fewer passes of Python's garbage collector while searches compute.

A full pass looks at every object of the process: the libraries, the models, the tokenizers' tables, and whatever else
the program holds. Searches make many small objects and hardly any cycles, so such passes cost tens of milliseconds a
step and find nothing. Passes over young objects are cheap, and go on.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

NEVER = 2**31 - 1  # the largest threshold that the collector takes

_lock = Lock()
_inside = 0
_before: tuple[int, int, int] | None = None


@contextmanager
def without_full_passes() -> Iterator[None]:
    """Within, the collector leaves old objects alone; afterwards its thresholds are those of before.

    Blocks may be nested, and several threads may be inside. Thresholds that somebody else sets meanwhile stay as set.
    `gc.collect()` does a full pass as ever.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _before
    with _lock:
        _inside += 1
        if _inside == 1:
            _before = gc.get_threshold()
            gc.set_threshold(*_before[:2], NEVER)


def _leave() -> None:
    global _inside, _before
    with _lock:
        _inside -= 1
        if _inside == 0 and _before is not None:
            if gc.get_threshold() == (*_before[:2], NEVER):
                gc.set_threshold(*_before)
            _before = None
