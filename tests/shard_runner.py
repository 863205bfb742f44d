"""A run over texts that takes no model and no time: its records are lengths; for the merging of shards."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fuse_repro.errors import UsageError
from fuse_repro.runners.build import build_data
from fuse_repro.runners.shards import Merging
from fuse_repro.runs.directory import RunDirectory

EVENTS: list[tuple[str, str]] = []  # of the loggers, in this process


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Two records per text; one text may fail, and one may kill the process once."""
    settings = config.runner
    data = build_data(config.dataset)
    directory.open(device="cpu", weights={}, shard=data.division.note(data.names()))
    known = directory.known()
    for item in data.predict_dataloader():
        if item.id == settings.get("deadly"):
            _die_once(directory.path)
        for name in ids(config, item.id)[0]:
            if name not in known:
                directory.append({"id": name, **_found(item.texts[0], item.id in settings.failing)})
    return results(config, directory.records()) | {"timing": {"seconds": 1.5}}


def ids(config: DictConfig, item: str) -> list[list[str]]:
    return [[f"{item}/a", f"{item}/b"]]


def results(config: DictConfig, records: list[dict[str, Any]]) -> dict[str, Any]:
    done = [record["value"] for record in records if record["status"] == "done"]
    if not done:
        raise UsageError("no text has a length")
    items = {"done": len(done), "failed": len(records) - len(done)}
    return {"runner": "lengths", "items": items, "median": sorted(done)[len(done) // 2]}


MERGING = Merging(ids, results, lambda parts: {"seconds": sum(part["seconds"] for part in parts)})


class Listener:
    """Notes what it is told, and how many records there are when it is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def opened(self, manifest: Mapping[str, Any]) -> None:
        EVENTS.append(("opened", self.directory.name))

    def record(self, row: Mapping[str, Any]) -> None:
        EVENTS.append(("record", self.directory.name))

    def series(self, name: str, step: int, values: Mapping[str, float]) -> None:
        pass

    def finished(self, found: Mapping[str, Any]) -> None:
        EVENTS.append(("finished", self.directory.name))

    def failed(self, error: BaseException) -> None:
        EVENTS.append(("failed", self.directory.name))

    def close(self) -> None:
        pass


def listeners(directory: Path) -> Sequence[Listener]:
    return [Listener(directory)]


def _found(text: str, fails: bool) -> dict[str, Any]:
    return {"status": "failed", "error": "too long"} if fails else {"status": "done", "value": len(text) / 7}


def _die_once(path: Path) -> None:
    mark = path.parent / f".{path.name}.struck"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
