"""How large a data set is: counted where it is there, as published where it is not."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from inspect import signature
from statistics import fmean
from typing import Any, cast

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fuse_repro.data.downloaded import DataSource
from fuse_repro.data.images import PhotoData
from fuse_repro.data.shards import Division
from fuse_repro.data.task_data import PromptTaskData
from fuse_repro.data.texts import TextData
from fuse_repro.errors import UsageError, require
from fuse_repro.runners.build import located, split_division

TOKENS_PER_WORD, SPECIAL = 1.4, 2  # on the average; tokens put around a text


@dataclass(frozen=True)
class TaskSize:
    """tasks: how many of this size; dev, test: items of each; tokens: of a text, without its prompt."""

    name: str
    tasks: int
    dev: float
    test: float
    tokens: float


@dataclass(frozen=True)
class DataSize:
    """items: photographs or texts. tasks: of a transfer. origin: where the numbers come from, and what is missing."""

    origin: str
    items: int = 0
    tasks: tuple[TaskSize, ...] = ()


PUBLISHED_PHOTOGRAPHS = {  # data set, sentiment or split -> photographs, as their papers count them
    ("CocoData", "test"): 5000,
    ("CocoData", "val"): 5000,
    ("CocoData", "restval"): 30504,
    ("CocoData", "train"): 82783,
    ("Flickr30kData", "test"): 1000,
    ("Flickr30kData", "val"): 1014,
    ("Flickr30kData", "train"): 29000,
    ("NoCapsData", "val"): 4500,
    ("NoCapsData", "test"): 10600,
    ("SentiCapData", "positive"): 673,
    ("SentiCapData", "negative"): 503,
}
PUBLISHED_TASKS = {
    "LamaFacts": TaskSize("lama", 41, 200, 830, 8),
    "sst2": TaskSize("sst2", 1, 32, 1821, 30),
    "agnews": TaskSize("agnews", 1, 64, 7600, 60),
    "dbpedia": TaskSize("dbpedia", 1, 224, 5000, 75),
}


def items(node: DictConfig, what: str) -> DataSize:
    """How many photographs or texts, which `what` calls them, a data set has."""
    node, division = split_division(node)
    counted, missing = _counted(OmegaConf.to_yaml(node, resolve=True), _items_of)
    if counted is not None:
        own = division.size(counted)
        return DataSize(f"{what}: {counted:,}, counted{_of_shards(division)}", own)
    key = (node._target_.rpartition(".")[2], node.get("sentiment") or node.get("split"))
    known = [count for count in (PUBLISHED_PHOTOGRAPHS.get(key), node.get("limit")) if count is not None]
    count = min(known, default=1)
    how = "as published" if known else "for one alone"
    return DataSize(f"{what}: {count:,}, {how}{_of_shards(division)}; {missing}", division.size(count))


def tasks(node: DictConfig) -> DataSize:
    """The size of every task of a prompt transfer."""
    node, division = split_division(node)
    counted, missing = _counted(OmegaConf.to_yaml(node, resolve=True), _tasks_of)
    if counted is not None:
        own = division.part(counted, [size.name for size in counted])
        return DataSize(f"{len(counted)} tasks, counted{_of_shards(division)}", tasks=own)
    name = str(node.get("name") or node._target_.rpartition(".")[2])
    known = PUBLISHED_TASKS.get(name)
    how = f"{known.tasks} tasks, as published" if known else "1 task of no known size"
    size = known or TaskSize(name, 1, 0, 0, 0)
    alone = replace(size, tasks=division.size(size.tasks))
    return DataSize(f"{how}{_of_shards(division)}; {missing}", tasks=(alone,))


def _of_shards(division: Division) -> str:
    return "" if division.is_whole else f", in {division.shards} shards"


def _items_of(data: PhotoData | TextData) -> int:
    data.setup("predict")
    return len(data.items)


def _tasks_of(source: PromptTaskData) -> tuple[TaskSize, ...]:
    return tuple(
        TaskSize(
            task.name,
            1,
            len(task.splits["dev"]),
            len(task.splits["test"]),
            fmean(TOKENS_PER_WORD * len(item.text.split()) + SPECIAL for item in task.splits["test"]),
        )
        for task in source.tasks()
    )


@lru_cache  # the points of a grid mostly read the same data
def _counted(config: str, count: Callable[[Any], Any]) -> tuple[Any, str]:
    """What `count` finds in the data set of a config; or None, and why it is not there."""
    node = cast(DictConfig, OmegaConf.create(config))
    maker = located(node._target_, "dataset")
    known = set(signature(maker).parameters)
    strange = sorted({str(key) for key in node} - known - {"_target_"})
    require(not strange, f"{node._target_}: keys", strange, f"of {', '.join(sorted(known))}")
    if missing := sorted(OmegaConf.missing_keys(node)):
        source = getattr(sys.modules[maker.__module__], "SOURCE", None)
        site = node.get("site") or (source.site if isinstance(source, DataSource) else None)
        return None, f"{', '.join(missing)} is not set" + (f": it is had from {site}" if site else "")
    try:
        return count(instantiate(node)), ""
    except (InstantiationException, UsageError) as error:
        cause = error if isinstance(error, UsageError) else error.__cause__
        if not isinstance(cause, UsageError):
            raise
        return None, str(cause)
