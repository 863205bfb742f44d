"""The contract of a run directory: manifest.json, status.json, records.jsonl, results.json.

Reports, resume, sweeps and tests read these files and nothing else. Every file but records.jsonl is replaced
whole; records.jsonl only grows, so a killed run keeps what it had. Records hold no times: two runs with one
seed write the same bytes.
"""

import json
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError, first_line
from fuse_repro.provenance import config_hash, git_commit, library_versions, machine, plain, strict_json

MANIFEST, STATUS, RECORDS, RESULTS = "manifest.json", "status.json", "records.jsonl", "results.json"


class RunDirectory:
    """One run's directory; open it, append records, then finish or fail.

    Opening it again with the same config continues the run; with another config, or other weights, it is a
    UsageError, since records of two different runs must not stand in one file.
    """

    def __init__(self, path: str | os.PathLike[str], config: Mapping) -> None:
        self.path = Path(path)
        self.config = plain(config)
        self.config_hash = config_hash(config)
        self._opened = False

    def open(self, *, device: str, weights: Mapping[str, Mapping[str, str]]) -> None:
        """Create the directory or continue in it; the status becomes "running".

        Args:
            device: torch device the run computes on, e.g. "cpu" or "cuda:0".
            weights: for every model its weight files and their sha256.

        Raises:
            UsageError: if the directory holds another run, is damaged, or cannot be written.
        """
        with _writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        weights = plain(weights)
        if (self.path / MANIFEST).exists():
            self._check_same_run(weights)
        else:
            self._write(MANIFEST, self._manifest(device, weights))
        self.records()
        self._opened = True
        self._set_status("running")

    def append(self, record: Mapping) -> None:
        """Add one record as one line of strict JSON (NaN becomes null), on disk when this returns."""
        line = strict_json(record).encode() + b"\n"
        with _writing(self.path / RECORDS), (self.path / RECORDS).open("ab") as file:
            before = file.tell()
            try:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), before)
                raise

    def records(self) -> list[dict]:
        """Every record so far; a last line torn by a killed run is cut off the file, to be computed anew."""
        records, intact = _parse_records(self.path / RECORDS)
        with _writing(self.path / RECORDS):
            if (self.path / RECORDS).exists() and (self.path / RECORDS).stat().st_size > intact:
                os.truncate(self.path / RECORDS, intact)
        return records

    def finish(self, results: Mapping) -> None:
        """Write results.json, then the status "done"."""
        self._write(RESULTS, results)
        self._set_status("done")

    def fail(self, error: BaseException) -> None:
        """Write the status "failed" with the error as one line and its traceback.

        A directory that could not be opened because another run is in it is left as it is.
        """
        if not self._opened:
            if (self.path / MANIFEST).exists():
                return
            with _writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
        trace = "".join(traceback.format_exception(error))
        self._set_status("failed", first_line(error), trace)

    def _check_same_run(self, weights: Mapping[str, Mapping[str, str]]) -> None:
        manifest = read_json(self.path / MANIFEST)
        remedy = "choose another output_dir, or delete this one"
        if manifest.get("config_hash") != self.config_hash:
            raise UsageError(f"{self.path} holds a run with another config; {remedy}")
        if manifest.get("weights") != weights:
            before, now = manifest.get("weights") or {}, weights
            changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
            raise UsageError(f"{self.path} was begun with other weights of {', '.join(changed)}; {remedy}")

    def _manifest(self, device: str, weights: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        return {
            "created": _now(),
            "config": self.config,
            "config_hash": self.config_hash,
            "seed": self.config.get("seed"),
            "device": device,
            "machine": machine(device),
            "git_commit": git_commit(),
            "versions": library_versions(),
            "weights": weights,
        }

    def _set_status(self, state: str, error: str | None = None, trace: str | None = None) -> None:
        status = {"state": state, "error": error, "traceback": trace, "updated": _now(), "pid": os.getpid()}
        self._write(STATUS, status)

    def _write(self, name: str, value: Any) -> None:
        write_text(self.path / name, strict_json(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        UsageError: if the file is missing, unreadable or damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UsageError(f"cannot read {path}: {err.strerror}; give the directory of a run") from err
    except ValueError as err:
        raise UsageError(
            f"{path} is damaged ({err}); restore it, or delete the directory and run again"
        ) from err
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged (not a JSON object); restore it, or run again elsewhere")
    return value


def read_records(path: Path) -> list[dict]:
    """The records in the run directory `path`, without touching it; a torn last line is left out."""
    return _parse_records(path / RECORDS)[0]


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` whole: written beside it, brought to disk, then moved into its place.

    Raises:
        UsageError: if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _parse_records(path: Path) -> tuple[list[dict], int]:
    """Records, and the length in bytes of the part of the file that holds them."""
    try:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    except OSError as err:
        raise UsageError(f"cannot read {path}: {err.strerror}; check its permissions") from err
    records: list[dict] = []
    intact = 0
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if not isinstance(record, dict):
            if number == len(lines):
                break
            raise UsageError(f"{path} is damaged at line {number}; delete that line and run again")
        records.append(record)
        intact += len(line)
    return records, intact


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        reason = err.strerror or str(err)
        remedy = "choose an output_dir with free space that you may write to"
        raise UsageError(f"cannot write {path}: {reason}; {remedy}") from err


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
