"""How far a run is and how long it will take, from its files alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean

from fuse_repro.runs.directory import RECORDS, STATUS
from fuse_repro.runs.look import look_at, stamp
from fuse_repro.runs.times import MOST, TIMES, item_seconds

LATEST = 50  # items whose mean time says how long the next ones will take


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Attributes:
        done: items that are done.
        failed: items that failed.
        total: of how many; None where the run has not said so yet.
        seconds: what one item took of late; None where no time was noted.
    """

    done: int
    failed: int
    total: int | None = None
    seconds: float | None = None

    @property
    def left(self) -> int | None:
        """Items that have no record yet; None where the total is not known."""
        return None if self.total is None else max(0, self.total - self.done - self.failed)

    @property
    def seconds_left(self) -> float | None:
        """What they will take; None where nobody can say."""
        return None if self.left is None or self.seconds is None else self.left * self.seconds

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.done:,}{of}{failed}"


def standing(path: Path) -> Standing:
    """How far the run in `path` is; files are read again only when they have changed."""
    return _standing(path, tuple(stamp(path / name) for name in (RECORDS, STATUS, TIMES)))


def together(some: Iterable[Standing], workers: int = 1) -> Standing:
    """Several runs as one, of which `workers` are at work at a time.

    Runs that have not said how many items they have count as the others do on the average.
    """
    known = list(some)
    totals = [one.total for one in known if one.total is not None]
    times = [one.seconds for one in known if one.seconds is not None]
    complete = round(fmean(totals) * len(known)) if totals else None
    seconds = fmean(times) / max(1, workers) if times else None
    return Standing(sum(one.done for one in known), sum(one.failed for one in known), complete, seconds)


@lru_cache(maxsize=4096)
def _standing(path: Path, stamps: tuple[tuple[int, int] | None, ...]) -> Standing:
    found = look_at(path)
    failed = sum(record.get("status") == "failed" for record in found.records)
    seconds = item_seconds(path)[-LATEST:]
    said = (found.status or {}).get("items")
    total = said if said is not None and 0 <= said < MOST else None
    return Standing(len(found.records) - failed, failed, total, fmean(seconds) if seconds else None)
