"""times.jsonl: how long each item of a run took, and when it ended, beside records that hold no times.

It serves whoever wants to know how far a run is. A run goes on without it, so what cannot be read of it is nothing.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from fuse_repro.errors import UsageError
from fuse_repro.runs.files import last_of_each, scan_records, writing
from fuse_repro.runs.provenance import strict_json

TIMES = "times.jsonl"
MOST = 1e12  # seconds or items that a file may speak of; more is damage


def note_time(directory: Path, name: str, seconds: float) -> None:
    """Add what an item took to the times of the run in `directory`.

    Args:
        directory: of the run.
        name: the id of the item's record.
        seconds: on the device of the run, which works on one item at a time.

    Raises:
        UsageError: if the file cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = strict_json({"id": name, "seconds": round(seconds, 3), "ended": now}).encode() + b"\n"
    path = directory / TIMES
    with writing(path), path.open("a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            line = line if file.read(1) == b"\n" else b"\n" + line  # after a line that a kill has torn
        file.write(line)


def item_seconds(directory: Path) -> list[float]:
    """What the items of the run took, each at its last try, in the order in which they were begun."""
    try:
        rows, _, _ = scan_records(directory / TIMES)
    except UsageError:
        return []
    return [float(row["seconds"]) for row in last_of_each(rows) if _is_time(row.get("seconds"))]


def total_time(directory: Path) -> dict[str, float]:
    """For the timing in results.json: the seconds of all items, over all starts; empty where none were noted."""
    seconds = item_seconds(directory)
    return {"device_seconds": round(sum(seconds), 3)} if seconds else {}


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MOST
