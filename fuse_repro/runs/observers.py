"""Who is told how a run goes on: dashboards and tables beside the run directory, never instead of it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fuse_repro.errors import first_line
from fuse_repro.shown import say


class Observer(Protocol):
    """Who is told of a run, in this order: opened, record and series as they come, finished or failed, close."""

    def opened(self, manifest: Mapping[str, Any]) -> None:
        """The run directory is ready; it may hold records of an earlier start already."""

    def record(self, row: Mapping[str, Any]) -> None:
        """A record stands in records.jsonl."""

    def series(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """A point of a curve, such as the loss of one prompt's tuning; curves are in no record."""

    def finished(self, results: Mapping[str, Any]) -> None:
        """The run ended well."""

    def failed(self, error: BaseException) -> None:
        """The run was ended by an error or interrupted."""

    def close(self) -> None:
        """Nothing more will come, whether or not the run ended."""


class Observers:
    """Tells every observer; one that raises is dropped with one line on standard error, and the run goes on."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)

    def opened(self, manifest: Mapping[str, Any]) -> None:
        self._tell(lambda observer: observer.opened(manifest))

    def record(self, row: Mapping[str, Any]) -> None:
        self._tell(lambda observer: observer.record(row))

    def series(self, name: str, step: int, values: Mapping[str, float]) -> None:
        self._tell(lambda observer: observer.series(name, step, values))

    def finished(self, results: Mapping[str, Any]) -> None:
        self._tell(lambda observer: observer.finished(results))

    def failed(self, error: BaseException) -> None:
        self._tell(lambda observer: observer.failed(error))

    def close(self) -> None:
        """Let go of every observer."""
        self._tell(lambda observer: observer.close())
        self._observers.clear()

    def _tell(self, event: Callable[[Observer], None]) -> None:
        for observer in list(self._observers):
            try:
                event(observer)
            except Exception as error:
                self._observers.remove(observer)
                name = type(observer).__name__
                say(f"{name} stopped, the run goes on: {first_line(error)}")
