"""Every map on both tasks: captions through its gradients at equal budget, and soft prompts moved through it."""

from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fuse_repro.errors import UsageError, first_line, require
from fuse_repro.metrics.statistics import clustered_interval
from fuse_repro.report.page import build_report
from fuse_repro.runners.assemble import build_fit, build_trainer, part_values
from fuse_repro.runners.search import caption
from fuse_repro.runners.transfer import runner as prompt_transfer
from fuse_repro.runs.directory import RESULTS, STATUS, RunDirectory, read_json, read_records

Run = Callable[[DictConfig, RunDirectory], dict]


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """One caption run per entry of methods and one transfer run of all, each in a run directory below this one.

    A record per map joins them. A half that cannot be run is a failed record of that map, and the others go on. Parts
    that are done are not run again. Raises UsageError for settings that cannot be used.
    """
    require(bool(config.methods), "methods", {}, "at least one map, as +adapter@methods.lookup=lookup")
    for node in config.methods.values():
        build_fit(node)
    device = str(build_trainer(config.trainer).strategy.root_device)
    directory.open(device=device, weights={})
    moved, reason = _part(config, directory, "transfer", None, prompt_transfer.run)
    known = directory.known()
    for name, node in config.methods.items():
        if name not in known:
            adapter = OmegaConf.to_container(node, resolve=True)
            captions, error = _part(config, directory, f"captions/{name}", adapter, caption.run)
            directory.append(_record(name, directory, captions, moved, error or reason))
    records = directory.records()
    return {"runner": "maps", "items": _counts(records), "maps": {r["id"]: r for r in records}}


def _part(
    config: DictConfig, directory: RunDirectory, place: str, adapter: Any, work: Run
) -> tuple[dict[str, Any] | None, str | None]:
    """The results of one part, whose runner `place` begins with; or None and why there are none."""
    resolved = part_values(config, place.partition("/")[0]) | {"adapter": adapter}
    own, part = OmegaConf.create(resolved), RunDirectory(directory.path / place, resolved)
    done = (part.path / STATUS).exists() and read_json(part.path / STATUS).get("state") == "done"
    if done and (part.path / RESULTS).exists():
        return read_json(part.path / RESULTS), None
    try:
        results = work(own, part)
    except UsageError as error:
        part.fail(error)
        return None, first_line(error)
    part.finish(results)
    build_report(part.path)
    return results, None


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
