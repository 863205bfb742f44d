"""The contract of a run directory: manifest.json, status.json, records.jsonl, results.json.

Reports, resume, sweeps and tests read these files and nothing else. Every file but records.jsonl is replaced
whole; records.jsonl only grows, so a killed run keeps what it had. Where an item was tried again, its last
record counts. Records hold no times: two runs with one seed write the same bytes. What items took is in times.jsonl.
"""

import json
import os
import socket
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError, first_line, require
from fuse_repro.runs import lock as run_lock
from fuse_repro.runs.files import ELSEWHERE, last_of_each, parse_records, read_json, write_text, writing
from fuse_repro.runs.observers import Observers
from fuse_repro.runs.provenance import config_hash, git_commit, library_versions, machine, plain, strict_json
from fuse_repro.runs.seal import SHARD, shard_seal
from fuse_repro.runs.times import note_time, total_time
from fuse_repro.storage import files
from fuse_repro.storage.locks import Held

MANIFEST, STATUS, RECORDS, RESULTS = "manifest.json", "status.json", "records.jsonl", "results.json"
RESUME = ("skip_done", "retry_failed", "all")


class RunDirectory:
    """One run's directory; open it, append records, then finish or fail.

    Opening it again with the same config continues the run; with another config, or other weights, it is a
    UsageError, since records of two different runs must not stand in one file.
    """

    def __init__(self, path: str | os.PathLike[str], config: Mapping) -> None:
        self.path = Path(path)
        self.config = plain(config)
        self.resume = resume_policy(config)
        self.config_hash = config_hash(config)
        self.observers = Observers()
        self._opened = False
        self._items: int | None = None
        self._failed: dict[Any, str] = {}
        self._shard: dict[str, Any] | None = None

    def open(
        self,
        *,
        device: str,
        weights: Mapping[str, Mapping[str, str]],
        shard: Mapping[str, Any] | None = None,
    ) -> None:
        """Create the directory or continue in it; the status becomes "running".

        Args:
            device: torch device the run computes on, e.g. "cpu" or "cuda:0".
            weights: for every model its weight files and their sha256.
            shard: what part of a data set the run works on, as `fuse_repro.data.shards` notes it; None for all of it.

        Raises:
            UsageError: if the directory holds another run, is damaged, cannot be written, or another process
                is at work on this run.
        """
        make_run_folder(self.path)
        weights, self._shard = plain(weights), plain(shard)
        begun = (self.path / MANIFEST).exists()
        if begun:
            self._check_same_run(weights)
        self._lock()
        files.sweep_up(self.path)
        if not begun:
            own = {} if self._shard is None else {SHARD: self._shard}
            self._write(MANIFEST, self._manifest(device, weights) | own)
        self._opened = True  # before the records are read: a done run with damaged ones is done no more
        self.records()
        write_status(self.path, "running")
        self.observers.opened(read_json(self.path / MANIFEST))

    def expect(self, items: int) -> None:
        """Say how many items the run has in all, for those who look how far it is."""
        self._items = items
        write_status(self.path, "running", items=items)

    def append(self, record: Mapping, seconds: float | None = None) -> None:
        """Add one record as one line of strict JSON (NaN and infinities become null), on disk when this returns.

        An item that failed again just as it did before is not written again. Observers are given what was
        written.

        Args:
            record: with the id of its item.
            seconds: what the item took; it is noted beside the records, which hold no times.
        """
        if seconds is not None:
            note_time(self.path, str(record.get("id")), seconds)
        text = strict_json(record)
        if text == self._failed.get(record.get("id")):
            self.observers.record(json.loads(text))
            return
        line = text.encode() + b"\n"
        with writing(self.path / RECORDS), (self.path / RECORDS).open("ab", buffering=0) as file:
            before = file.tell()
            left = memoryview(line)
            try:
                while (
                    left
                ):  # unbuffered: what a full disk refuses must not be written later, when the file is closed
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), before)
                raise
        self.observers.record(json.loads(text))

    def records(self) -> list[dict]:
        """The last record of every item, in the order in which the items were begun.

        A last line torn by a killed run is cut off the file, to be computed anew.
        """
        records, intact = parse_records(self.path / RECORDS)
        with writing(self.path / RECORDS):
            if (self.path / RECORDS).exists() and (self.path / RECORDS).stat().st_size > intact:
                os.truncate(self.path / RECORDS, intact)
        return last_of_each(records)

    def known(self) -> set[str]:
        """Ids of the items that need not be computed: those done, and with resume=skip_done those failed, too.

        None with resume=all, which computes every item anew.
        """
        if self.resume == "all":
            return set()
        records = self.records()
        failed = {record["id"]: record for record in records if record.get("status") == "failed"}
        self._failed = {name: strict_json(record) for name, record in failed.items()}
        kept = {} if self.resume == "skip_done" else failed
        return {record["id"] for record in records} - kept.keys()

    def finish(self, results: Mapping) -> None:
        """Write results.json, then the status "done". A shard's results say which records they were made of."""
        if times := total_time(self.path):
            results = {**results, "timing": {**results.get("timing", {}), **times}}
        if self._shard is not None:
            results = {**results, SHARD: shard_seal(self._shard, self.path / RECORDS)}
        self._write(RESULTS, results)
        self._end("done")
        self.observers.finished(results)

    def fail(self, error: BaseException) -> None:
        """Write the status "failed" with the error as one line and its traceback.

        A directory that could not be opened because another run, another process or a finished run is in it
        is left as it is.
        """
        if not self._opened and not self._is_ours():
            return
        trace = "".join(traceback.format_exception(error))
        self._end("failed", first_line(error), trace)
        self.observers.failed(error)

    def interrupt(self, error: BaseException) -> None:
        """Write the status "interrupted": the run was told to stop, and goes on when it is started again."""
        if self._opened:
            self._end("interrupted")
            self.observers.failed(error)

    def _lock(self) -> None:
        try:
            with writing(self.path / RECORDS):
                run_lock.acquire(self.path / RECORDS)
        except Held:
            status = read_json(self.path / STATUS) if (self.path / STATUS).exists() else {}
            owner = f"pid {status.get('pid')} on {status.get('host')}"
            raise UsageError(
                f"another process ({owner}) is at work on {self.path}: wait until it ends, or choose another "
                "output_dir"
            ) from None

    def _is_ours(self) -> bool:
        """Whether a run that was never opened may say here that it failed."""
        if not (self.path / MANIFEST).exists():
            return True
        if read_json(self.path / MANIFEST).get("config_hash") != self.config_hash:
            return False
        done = (self.path / STATUS).exists() and read_json(self.path / STATUS).get("state") == "done"
        return not done and not run_lock.is_held(self.path / RECORDS)

    def _check_same_run(self, weights: Mapping[str, Mapping[str, str]]) -> None:
        manifest = read_json(self.path / MANIFEST)
        remedy = "choose another output_dir, or delete this one"
        if manifest.get("config_hash") != self.config_hash:
            raise UsageError(f"{self.path} holds a run with another config; {remedy}")
        if manifest.get("weights") != weights:
            before, now = manifest.get("weights") or {}, weights
            changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
            raise UsageError(f"{self.path} was begun with other weights of {', '.join(changed)}; {remedy}")
        if manifest.get(SHARD) != self._shard:
            raise UsageError(
                f"{self.path} is a shard of a data set that had other items when it was begun; {remedy}"
            )

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

    def _end(self, state: str, error: str | None = None, trace: str | None = None) -> None:
        try:
            write_status(self.path, state, error, trace, self._items)
        finally:
            run_lock.release(self.path / RECORDS)

    def _write(self, name: str, value: Any) -> None:
        write_text(self.path / name, strict_json(value, indent=2) + "\n")


def make_run_folder(path: Path) -> None:
    """Make the folder of a run, and see that files can be written there. Raises UsageError where they cannot."""
    files.make_folder(path, ELSEWHERE)


def resume_policy(config: Mapping) -> str:
    """The value of config.resume: which earlier work is tried again.

    Raises:
        UsageError: a policy that does not exist.
    """
    resume = config.get("resume", "retry_failed")
    require(resume in RESUME, "resume", resume, f"one of {', '.join(RESUME)}")
    return str(resume)


def read_records(path: Path) -> list[dict]:
    """As `RunDirectory.records`, of the run in `path` and without touching it."""
    return last_of_each(parse_records(path / RECORDS)[0])


def write_status(
    path: Path, state: str, error: str | None = None, trace: str | None = None, items: int | None = None
) -> None:
    """Replace the status of the run in `path`, which is made if it is not there.

    Args:
        path: the run directory.
        state: running, interrupted, failed or done.
        error: one line, or None.
        trace: the traceback, or None.
        items: how many items the run has in all; None where that is not known.

    Raises:
        UsageError: if it cannot be written.
    """
    status: dict[str, Any] = {"state": state, "error": error, "traceback": trace, "updated": _now()}
    status |= {} if items is None else {"items": items}
    where = {"pid": os.getpid(), "host": socket.gethostname()}
    write_text(path / STATUS, strict_json(status | where, indent=2) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
