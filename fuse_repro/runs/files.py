"""Files that are whole or not there: JSON replaced in one step, records that only grow, errors a user can mend."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.storage import files
from fuse_repro.storage.reading import open_regular, parse_json

ELSEWHERE = "an output_dir"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        UsageError: if the file is missing, unreadable or damaged.
    """
    try:
        with open_regular(path) as file:
            value = parse_json(file.read().decode())
    except OSError as err:
        raise UsageError(f"cannot read {path}: {err.strerror}; give the directory of a run") from err
    except (ValueError, RecursionError) as err:
        raise UsageError(
            f"{path} is damaged ({err}); restore it, or delete the directory and run again"
        ) from err
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged (not a JSON object); restore it, or run again elsewhere")
    return value


def write_text(path: Path, text: str, elsewhere: str = ELSEWHERE) -> None:
    """Replace `path` by `text` whole: written beside it, brought to disk, then moved into its place.

    Args:
        path: the file; its folder is made if need be.
        text: its content.
        elsewhere: where else the user may have it written, for the error.

    Raises:
        UsageError: if the file cannot be written.
    """
    files.write_bytes(path, text.encode(), elsewhere)


def parse_records(path: Path) -> tuple[list[dict], int]:
    """Records, and the length in bytes of the part of the file that holds them.

    Raises:
        UsageError: if the file cannot be read, or a line other than a torn last one is damaged.
    """
    records, intact, damaged = scan_records(path)
    if damaged:
        raise UsageError(f"{path} is damaged at line {damaged[0]}; delete that line and run again")
    return records, intact


def scan_records(path: Path) -> tuple[list[dict], int, list[int]]:
    """What can be read of a file of records.

    Args:
        path: the file, which need not be there.

    Returns:
        The records; the length in bytes without a last line that a killed run has torn, which ends without a
        newline; and the numbers of the lines that are damaged, from 1 on.

    Raises:
        UsageError: if the file cannot be read.
    """
    try:
        lines: list[bytes] = []
        if os.path.lexists(path):
            with open_regular(path) as file:
                lines = file.readlines()
    except OSError as err:
        raise UsageError(f"cannot read {path}: {err.strerror}; check its permissions") from err
    records: list[dict] = []
    damaged: list[int] = []
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is None:
            damaged.append(number)
        else:
            records.append(record)
    return records, sum(map(len, lines)), damaged


def _record(line: bytes) -> dict | None:
    """The record in a line; None if it is none."""
    try:
        record = parse_json(line.decode())
    except ValueError:
        return None
    named = isinstance(record, dict) and isinstance(record.get("id"), str | int | None)
    return record if named else None


def last_of_each(records: list[dict]) -> list[dict]:
    """The last record of every id, at the place of its first."""
    latest: dict[Any, dict] = {}
    for number, record in enumerate(records):
        latest[record.get("id", number)] = record
    return list(latest.values())


def writing(path: Path) -> AbstractContextManager[None]:
    """Turn an OSError within into a UsageError about writing `path`, a file of a run."""
    return files.writing(path, ELSEWHERE)
