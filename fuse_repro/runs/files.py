"""Files that are whole or not there: JSON replaced in one step, records that only grow, errors a user can mend."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.storage.reading import open_regular, parse_json


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
    except ValueError as err:
        raise UsageError(
            f"{path} is damaged ({err}); restore it, or delete the directory and run again"
        ) from err
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged (not a JSON object); restore it, or run again elsewhere")
    return value


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` whole: written beside it, brought to disk, then moved into its place.

    Raises:
        UsageError: if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def parse_records(path: Path) -> tuple[list[dict], int]:
    """Records, and the length in bytes of the part of the file that holds them."""
    try:
        lines: list[bytes] = []
        if os.path.lexists(path):
            with open_regular(path) as file:
                lines = file.readlines()
    except OSError as err:
        raise UsageError(f"cannot read {path}: {err.strerror}; check its permissions") from err
    records: list[dict] = []
    intact = 0
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_json(line.decode()) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if not isinstance(record, dict):
            if number == len(lines):
                break
            raise UsageError(f"{path} is damaged at line {number}; delete that line and run again")
        records.append(record)
        intact += len(line)
    return records, intact


def last_of_each(records: list[dict]) -> list[dict]:
    """The last record of every id, at the place of its first."""
    latest: dict[Any, dict] = {}
    for number, record in enumerate(records):
        latest[record.get("id", number)] = record
    return list(latest.values())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError within into a UsageError about writing `path`."""
    try:
        yield
    except OSError as err:
        reason = err.strerror or str(err)
        remedy = "choose an output_dir with free space that you may write to"
        raise UsageError(f"cannot write {path}: {reason}; {remedy}") from err
