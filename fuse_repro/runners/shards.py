"""What a runner says of shards: which records an item leaves, and how the records of all become one result."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fuse_repro.data.shards import KEYS, Division
from fuse_repro.data.task_data import PromptTaskData
from fuse_repro.errors import UsageError, require
from fuse_repro.runners.build import build_data, located
from fuse_repro.runs.files import write_text
from fuse_repro.runs.provenance import strict_json
from fuse_repro.shown import say

UNLIMITED: Mapping[str, tuple[Any, ...]] = {
    "limit_predict_batches": (None, 1.0),
    "limit_test_batches": (None, 1.0),
    "fast_dev_run": (None, False),
}
NOT_READ = "not_read"  # key of results.json: what of the data was left out, which is the same in every shard
Timing = Mapping[str, Any]


@dataclass(frozen=True)
class Merging:
    """How a kind of run can be shared out among shards. The module of its `run` function holds one as MERGING.

    Attributes:
        record_ids: from a config and the name of an item to the ids of its records, in their order, for each way in
            which the item may end. A run gets to all records of the first way before any of the second.
        results: from a config and the records of a run, in their order, to what results.json holds, without `timing`.
            Raises UsageError where no record is done. The run itself must use it, too.
        timing: from the `timing` of the shards' results to that of the whole.
        files: from a config and the records to the further files of the run directory, name -> JSON value.
    """

    record_ids: Callable[[DictConfig, str], Sequence[Sequence[str]]]
    results: Callable[[DictConfig, list[dict[str, Any]]], dict[str, Any]]
    timing: Callable[[Sequence[Timing]], dict[str, Any]]
    files: Callable[[DictConfig, list[dict[str, Any]]], Mapping[str, Any]] = lambda config, records: {}


def write_files(path: Path, files: Mapping[str, Any]) -> None:
    """Write what `Merging.files` gives to the run directory `path`, each file whole. Raises UsageError if it cannot."""
    for name, value in files.items():
        write_text(path / name, strict_json(value) + "\n")


def merging(config: DictConfig) -> Merging:
    """How the shards of this run are merged. Raises UsageError for a kind of run that has none."""
    target = str(config.runner._target_)
    run = located(target, "runner")
    found = getattr(sys.modules.get(run.__module__), "MERGING", None)
    if not isinstance(found, Merging):
        raise UsageError(
            f"{target} has no shards: leave out dataset.shards and dataset.shard, or sweep another key"
        )
    return found


def refuse_shards(config: DictConfig) -> None:
    """Raise UsageError where a kind of run that works on its data set as a whole is to work on a shard."""
    if is_divided(config):
        merging(config)


def is_divided(config: DictConfig) -> bool:
    """Whether the run works on a shard of its data set."""
    node = config.get("dataset")
    return node is not None and any(
        node.get(key, default) != default for key, default in zip(KEYS, (1, 0), strict=True)
    )


def check_limits(config: DictConfig) -> None:
    """Raise UsageError for a limit of the Trainer in a run that works on a shard: it would cut each shard."""
    if is_divided(config):
        for name, off in UNLIMITED.items():
            value = (config.get("trainer") or {}).get(name)
            allowed = "null for a shard; dataset.limit cuts the whole data set, before the shards are cut"
            require(value in off, f"trainer.{name}", value, allowed)


def shard_note(config: DictConfig, division: Division, names: Sequence[str]) -> dict[str, Any] | None:
    """What the manifest says of the shard of a run, which is said on standard error, too; None for a whole data set.

    Args:
        config: of the run.
        division: of its data set.
        names: of all items, in the order of the data set.

    Raises:
        UsageError: more shards than items, or a limit of the Trainer.
    """
    check_limits(config)
    note = division.note(names)
    if note is not None:
        say(f"shard {note['shard']} of {note['shards']}: {len(note['items'])} of {note['total']} items")
    return note


def check_shard(config: DictConfig) -> None:
    """Find out, without a model, whether the data set of a run can be cut as the run asks.

    Raises:
        UsageError: a shard out of range, more shards than items, a limit of the Trainer, a kind of run that has no
            shards, or data that cannot be used.
    """
    if not is_divided(config):
        return
    merging(config)
    check_limits(config)
    data = build_data(config.dataset)
    if isinstance(data, PromptTaskData):
        data.own(data.tasks())
    else:
        data.setup("predict")
        data.own_items()
