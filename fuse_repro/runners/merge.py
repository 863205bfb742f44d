"""One result out of the runs of several shards: their records in the order of the data set, and what follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from fuse_repro.errors import UsageError, first_line
from fuse_repro.runners.lifecycle import observe, write_report
from fuse_repro.runners.shards import NOT_READ, Merging, merging, write_files
from fuse_repro.runs.directory import RECORDS
from fuse_repro.runs.merged import MISSING, TIMING, MergedDirectory
from fuse_repro.runs.shard_runs import AGAIN, ShardRun
from fuse_repro.runs.state import DONE, NEW

Record = dict[str, Any]
# item -> the ids of its records, for each way in which it may end
Ids = Mapping[str, Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Merged:
    """What came of a merge.

    Attributes:
        path: the run directory with the result.
        shards: how many shards the run has.
        total: how many items the data set has.
        missing: one line for each shard that lacks items, with how many.
        failed: how many items failed.
        changed: whether anything was written; it is not where the same result was there already.
    """

    path: Path
    shards: int
    total: int
    missing: tuple[str, ...]
    failed: int
    changed: bool


def merge_runs(runs: Sequence[ShardRun], path: Path) -> Merged:
    """Write what the shards of one run have found to the run directory `path`, as the undivided run would have.

    A complete result is shown to the loggers of the config, too.

    Args:
        runs: at least one, all of the same run, in their order.
        path: a directory that holds nothing, or an earlier result of the same.

    Raises:
        UsageError: records that do not belong to their shard, none that is done, or a complete result in `path` that
            would be replaced by an incomplete one.
    """
    config = OmegaConf.create({**runs[0].config, "output_dir": str(path)})
    how = merging(config)
    ids = {item: how.record_ids(config, item) for run in runs for item in run.note["items"]}
    for run in runs:
        _check_records(run, ids)
    records = _in_order(runs, ids)
    missing = _missing(runs, ids)
    results = _results(how, config, records, runs) | _said(missing, runs, ids)
    directory = MergedDirectory(path, cast(dict[str, Any], OmegaConf.to_container(config)))
    lines = tuple(missing.values())
    failed = sum(record.get("status") == "failed" for record in records)
    outcome = Merged(path, runs[0].note["shards"], runs[0].note["total"], lines, failed, True)
    further = how.files(config, records)
    if directory.holds(records, results) and all((path / name).exists() for name in further):
        return Merged(**{**vars(outcome), "changed": False})
    directory.check_not_less(records)
    _write(directory, config, runs, records, results, lines, further)
    write_report(path)
    return outcome


def _write(
    directory: MergedDirectory,
    config: DictConfig,
    runs: Sequence[ShardRun],
    records: Sequence[Record],
    results: Mapping[str, Any],
    missing: Sequence[str],
    further: Mapping[str, Any],
) -> None:
    try:
        manifest = directory.fill(
            records,
            shards=[_origin(run) for run in runs],
            device=", ".join(dict.fromkeys(str(run.manifest.get("device")) for run in runs)),
            weights=runs[0].manifest.get("weights") or {},
        )
        write_files(directory.path, further)
        if missing:
            directory.leave_open(results, "; ".join(missing))
        else:
            observe(directory, config)
            directory.observers.opened(manifest)
            directory.finish(results)
    except BaseException as error:
        directory.fail(error)
        raise
    finally:
        directory.observers.close()


def _origin(run: ShardRun) -> dict[str, Any]:
    """What the manifest of the whole says of a shard."""
    known = {key: run.manifest.get(key) for key in ("created", "device", "git_commit", "versions")}
    return {"shard": run.note["shard"], "directory": run.path.name, "records": len(run.records), **known}


def _check_records(run: ShardRun, ids: Ids) -> None:
    """Raise UsageError for a record of no item of the shard, and for a finished shard that lacks one."""
    which = f"shard {run.note['shard']} of {run.note['shards']}"
    known = {name for item in run.note["items"] for way in ids[item] for name in way}
    foreign = [record.get("id") for record in run.records if record.get("id") not in known]
    if foreign:
        raise UsageError(
            f"{run.path / RECORDS} has a record of {foreign[0]!r}, which is no item of {which}; {AGAIN}"
        )
    open_items = _open_items(run, ids)
    if run.state == DONE and open_items:
        raise UsageError(
            f"{run.path / RECORDS} has no record of {open_items[0]!r}, though {which} is done; {AGAIN}"
        )


def _open_items(run: ShardRun, ids: Ids) -> list[str]:
    """The items of a shard that it has not done with."""
    there = {record.get("id") for record in run.records}
    return [item for item in run.note["items"] if not any(there.issuperset(way) for way in ids[item])]


def _in_order(runs: Sequence[ShardRun], ids: Ids) -> list[Record]:
    """The records of all shards, in the order in which the undivided run gets to them."""
    places = {
        name: (number, run.note["items"][item], step)
        for run in runs
        for item in run.note["items"]
        for number, way in enumerate(ids[item])
        for step, name in enumerate(way)
    }
    records = [record for run in runs for record in run.records]
    return sorted(records, key=lambda record: places[record["id"]])


def _missing(runs: Sequence[ShardRun], ids: Ids) -> dict[int, str]:
    """Shard -> one line on what it lacks."""
    by_shard = {run.note["shard"]: run for run in runs}
    lines = {}
    for shard in range(runs[0].note["shards"]):
        run = by_shard.get(shard)
        if run is None:
            lines[shard] = f"shard {shard} is missing: there is no run of it"
        elif lacking := _open_items(run, ids):
            state = "not begun" if run.state == NEW else run.state
            lines[shard] = (
                f"shard {shard} is {state}: {len(lacking)} of {len(run.note['items'])} items are missing"
            )
    return lines


def _said(missing: Mapping[int, str], runs: Sequence[ShardRun], ids: Ids) -> dict[str, Any]:
    """For results.json: what is missing, if anything is."""
    if not missing:
        return {}
    there = sum(len(run.note["items"]) - len(_open_items(run, ids)) for run in runs)
    items = runs[0].note["total"] - there
    return {MISSING: {"items": items, "shards": list(missing), "reasons": list(missing.values())}}


def _results(
    how: Merging, config: DictConfig, records: list[Record], runs: Sequence[ShardRun]
) -> dict[str, Any]:
    """What the runner makes of the records, with the timing of the shards that are done. May raise UsageError."""
    try:
        done = [run.results for run in runs if run.results is not None]
        timing = how.timing([results[TIMING] for results in done])
        shared = next(({NOT_READ: results[NOT_READ]} for results in done if results.get(NOT_READ)), {})
        return how.results(config, records) | shared | {TIMING: timing}
    except (KeyError, TypeError, AttributeError) as error:
        folder = runs[0].path.parent
        raise UsageError(
            f"{folder}: a shard was changed by hand, or written by another version ({first_line(error)}); {AGAIN}"
        ) from error
