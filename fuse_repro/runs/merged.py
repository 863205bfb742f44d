"""The run directory that holds what several shards have found, as the undivided run would have written it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.runs.directory import MANIFEST, RECORDS, RESULTS, RunDirectory, read_records
from fuse_repro.runs.files import read_json, writing
from fuse_repro.runs.provenance import strict_json
from fuse_repro.runs.state import DONE, INTERRUPTED, run_state

MERGED = "merged"  # folder in a sweep directory; and key of the manifest: the shards that it was merged from
MISSING = "missing"  # key of results.json: what the shards lack
HERE = "cpu"  # a merge needs no other device
TIMING = "timing"  # key of results.json that differs between two runs of the same


class MergedDirectory(RunDirectory):
    """A run directory that is filled at once; a run of the same config that lacks nothing may stand there already."""

    def holds(self, records: Sequence[Mapping[str, Any]], results: Mapping[str, Any]) -> bool:
        """Whether exactly this is here already, `timing` apart."""
        if run_state(self.path).state != (INTERRUPTED if MISSING in results else DONE):
            return False
        found, there = self.path / RECORDS, self.path / RESULTS
        if not there.exists() or not found.exists() or found.read_bytes() != _lines(records):
            return False
        return strict_json({**read_json(there), TIMING: None}) == strict_json({**results, TIMING: None})

    def check_not_less(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Raise UsageError where records stand here, of a complete result or another, that these lack."""
        lost = {record.get("id") for record in read_records(self.path)} - {record["id"] for record in records}
        if lost:
            raise UsageError(
                f"{self.path} holds {len(lost)} records that the shards lack now: it stays as it is; bring the shards "
                "back, or delete it to have it replaced"
            )

    def fill(
        self,
        records: Sequence[Mapping[str, Any]],
        *,
        shards: Sequence[Mapping[str, Any]],
        device: str,
        weights: Mapping[str, Mapping[str, str]],
    ) -> dict[str, Any]:
        """Open the directory, and replace its records by these; `finish` or `leave_open` end it.

        Args:
            records: of all shards, in the order of the data set.
            shards: for the manifest: which were merged.
            device: on which they were run; there need be none like it here.
            weights: as `open` takes them.

        Returns:
            The manifest.

        Raises:
            UsageError: as `open` does.
        """
        self.open(device=HERE, weights=weights)
        manifest = self._manifest(HERE, weights) | {"device": device, MERGED: list(shards)}
        self._write(MANIFEST, manifest)
        with writing(self.path / RECORDS), (self.path / RECORDS).open("r+b") as file:
            file.truncate()  # not replaced: the lock is held on this very file
            file.write(_lines(records))
            file.flush()
            os.fsync(file.fileno())
        return manifest

    def leave_open(self, results: Mapping[str, Any], reason: str) -> None:
        """Write results that lack something, and the status "interrupted"."""
        self._write(RESULTS, results)
        self._end(INTERRUPTED, reason)


def merged_place(folder: Path, identity: str | None = None) -> Path:
    """Where a result goes that is merged from runs in `folder`; `identity` tells it from others, if there are any."""
    return folder / MERGED if identity is None else folder / MERGED / identity


def _lines(records: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(strict_json(record).encode() + b"\n" for record in records)
