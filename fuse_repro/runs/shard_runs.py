"""The run directories of shards, as whoever merges them sees them: read, checked against their seals, and grouped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.runs.directory import MANIFEST, RECORDS, RESULTS
from fuse_repro.runs.files import last_of_each, parse_records, read_json
from fuse_repro.runs.provenance import UNHASHED_ANYWHERE, UNHASHED_KEYS, config_hash
from fuse_repro.runs.seal import SHARD, shard_seal
from fuse_repro.runs.state import DONE, run_state

NOTED: Mapping[str, type] = {"shards": int, "shard": int, "total": int, "data": str, "items": dict}
AGAIN = "restore it, or delete this directory and run the shard again"


@dataclass(frozen=True)
class ShardRun:
    """The run of one shard, finished or not.

    Attributes:
        path: its run directory.
        manifest: what manifest.json holds.
        note: what the manifest says of the shard; see `fuse_repro.data.shards.Division.note`.
        records: the last record of every id.
        state: of the run; see `fuse_repro.runs.state`.
        results: what results.json holds; None unless the run is done.
    """

    path: Path
    manifest: Mapping[str, Any]
    note: Mapping[str, Any]
    records: Sequence[dict[str, Any]]
    state: str
    results: Mapping[str, Any] | None

    @property
    def config(self) -> dict[str, Any]:
        """The config of the undivided run."""
        return undivided(self.manifest["config"])

    @property
    def identity(self) -> tuple[str, int]:
        """What the shards of one run have in common: the hash of its config, and how many shards it has."""
        return config_hash(self.config), self.note["shards"]


def undivided(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the run that does the work of all shards, from that of one of them."""
    return {**config, "dataset": {**(config.get("dataset") or {}), "shards": 1, "shard": 0}}


def shard_runs(folder: Path) -> list[ShardRun]:
    """The shards whose run directories are in `folder`, in their order; other runs are passed over.

    Raises:
        UsageError: a file that is damaged or was changed by hand.
    """
    found = [
        run for path in sorted(folder.glob(f"*/{MANIFEST}")) if (run := _shard_run(path.parent)) is not None
    ]
    return sorted(found, key=lambda run: (run.note["shards"], run.note["shard"], run.path))


def grouped(runs: Sequence[ShardRun]) -> list[list[ShardRun]]:
    """The shards of each run together.

    Raises:
        UsageError: one shard twice, or shards of one run that had other data or other weights.
    """
    groups: dict[tuple[str, int], list[ShardRun]] = {}
    for run in runs:
        groups.setdefault(run.identity, []).append(run)
    for group in groups.values():
        for one, other in pairwise(group):
            _check_pair(one, other)
    return list(groups.values())


def difference(one: ShardRun, other: ShardRun) -> str:
    """The first key whose values differ between the configs of two undivided runs, with both values."""
    if one.note["shards"] != other.note["shards"]:
        return f"dataset.shards is {one.note['shards']} and {other.note['shards']}"
    mine, its = _flat(one.config), _flat(other.config)
    for key in dict.fromkeys([*mine, *its]):
        parts = key.split(".")
        counts = parts[0] not in UNHASHED_KEYS and parts[-1] not in UNHASHED_ANYWHERE
        if counts and (key in mine, mine.get(key)) != (key in its, its.get(key)):
            return f"{key} is {mine.get(key)!r} and {its.get(key)!r}"
    return "their configs differ"


def _shard_run(path: Path) -> ShardRun | None:
    manifest = read_json(path / MANIFEST)
    note = manifest.get(SHARD)
    if note is None:
        return None
    noted = isinstance(note, dict) and all(isinstance(note.get(key), kind) for key, kind in NOTED.items())
    config = manifest.get("config")
    if not noted or not isinstance(config, dict) or config_hash(config) != manifest.get("config_hash"):
        raise UsageError(
            f"{path / MANIFEST} was changed by hand: it does not fit its own config_hash; {AGAIN}"
        )
    dataset = config.get("dataset") or {}
    if any(dataset.get(key) != note[key] for key in ("shards", "shard")):
        raise UsageError(f"{path / MANIFEST} was changed by hand: config and shard do not fit; {AGAIN}")
    records = last_of_each(parse_records(path / RECORDS)[0])
    state = run_state(path).state
    results = read_json(path / RESULTS) if state == DONE else None
    if results is not None and results.get(SHARD) != shard_seal(note, path / RECORDS):
        raise UsageError(
            f"{path / RECORDS} was changed after the run had ended: results.json has another hash; {AGAIN}"
        )
    return ShardRun(path, manifest, note, records, state, results)


def _check_pair(one: ShardRun, other: ShardRun) -> None:
    """Two neighbours of a group, in the order of their shards."""
    both = f"{one.path} and {other.path}"
    if one.note["shard"] == other.note["shard"]:
        raise UsageError(
            f"{both} are both shard {one.note['shard']} of {one.note['shards']}: leave one of them"
        )
    if (one.note["total"], one.note["data"]) != (other.note["total"], other.note["data"]):
        raise UsageError(
            f"{both} are shards of different data: {one.note['total']} and {other.note['total']} items, or others; run "
            "all shards again on the same data"
        )
    if one.manifest.get("weights") != other.manifest.get("weights"):
        raise UsageError(f"{both} were run with different weights: run all shards again with the same ones")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat
