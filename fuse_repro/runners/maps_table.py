"""Every map on both tasks: captions through its gradients at equal budget, and soft prompts moved through it."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fuse_repro.errors import require
from fuse_repro.metrics.statistics import clustered_interval
from fuse_repro.runners.assemble import part_values
from fuse_repro.runners.build import build_fit
from fuse_repro.runners.lifecycle import run_part
from fuse_repro.runners.shards import refuse_shards
from fuse_repro.runners.trainer import build_trainer
from fuse_repro.runs.directory import RunDirectory, read_records
from fuse_repro.runs.provenance import strict_json


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """One caption run per entry of methods and one transfer run of all, each in a run directory below this one.

    A record per map joins them. A half that cannot be run is a failed record of that map, and the others go on. Whether
    parts are run again, config.resume says. Raises UsageError for settings that cannot be used.
    """
    refuse_shards(config)
    require(bool(config.methods), "methods", {}, "at least one map, as +adapter@methods.lookup=lookup")
    for node in config.methods.values():
        build_fit(node)
    device = str(build_trainer(config.trainer).strategy.root_device)
    directory.open(device=device, weights={})
    moved, reason = _part(config, directory, "transfer", None)
    known = {record["id"]: record for record in directory.records() if record["id"] in directory.known()}
    for name, node in config.methods.items():
        adapter = OmegaConf.to_container(node, resolve=True)
        captions, error = _part(config, directory, f"captions/{name}", adapter)
        record = _record(name, directory, captions, moved, error or reason)
        if name not in known or strict_json(record) != strict_json(known[name]):
            directory.append(record)
    records = directory.records()
    return {"runner": "maps", "items": _counts(records), "maps": {r["id"]: r for r in records}}


def _part(
    config: DictConfig, directory: RunDirectory, place: str, adapter: Any
) -> tuple[dict[str, Any] | None, str | None]:
    """The results of one part, whose runner `place` begins with; or None and why there are none."""
    values = part_values(config, place.partition("/")[0]) | {"adapter": adapter}
    return run_part(OmegaConf.create(values), directory.path / place)


def _record(
    name: str,
    directory: RunDirectory,
    captions: Mapping[str, Any] | None,
    moved: Mapping[str, Any] | None,
    error: str | None,
) -> dict[str, Any]:
    """What one map does on both tasks."""
    record: dict[str, Any] = {"id": name, "kind": "map", "map": name}
    if captions is not None:
        items = read_records(directory.path / "captions" / name)
        rows = {row["id"]: row["objective"] for row in items if row["status"] == "done"}
        interval = clustered_interval(list(rows.values()), ["objective"] * len(rows), list(rows))
        record |= {"objective": vars(interval), "metrics": captions["metrics"], "objectives": rows}
        record["metrics_unit"] = captions.get("metrics_unit")
    if moved is not None and name in moved["methods"]:
        found = moved["methods"][name]
        record["precision"] = {
            "mean": found["mean_over_relations"],
            "low": found["low"],
            "high": found["high"],
        }
    complete = "objective" in record and "precision" in record
    return record | ({"status": "done"} if complete else {"status": "failed", "error": error or "no result"})


def _counts(records: list[dict[str, Any]]) -> dict[str, int]:
    done = sum(record["status"] == "done" for record in records)
    return {"done": done, "failed": len(records) - done}
