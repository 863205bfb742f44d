"""The captions of a run as files: captions.json beside the records, and a .txt beside every photograph."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fuse_repro.data.images import ImageItem, PhotoData
from fuse_repro.errors import UsageError, quoted, require
from fuse_repro.runs.directory import RECORDS
from fuse_repro.runs.files import parse_records
from fuse_repro.storage.files import write_bytes
from fuse_repro.storage.reading import is_there, open_regular, whole_text

CAPTIONS, OVERWRITE = "captions.json", "overwrite"
MOST_DIGITS = 20
Record = Mapping[str, Any]


def caption_files(config: DictConfig, records: Sequence[Record]) -> dict[str, list[dict[str, Any]]]:
    """File name -> captions in COCO's result format, in the order of the records.

    Captions with a sentiment have a file each: captions_positive.json. A caption is as it is compared with references:
    without the prefix, or with it (`runner.metrics_prefix=keep`). What failed is not in the file.
    """
    done = [record for record in records if record["status"] == "done"]
    numbers = _image_ids([_image(record) for record in done])
    found: dict[str, list[dict[str, Any]]] = {}
    for record in done:
        kind = record.get("sentiment")
        name = CAPTIONS if kind is None else CAPTIONS.replace(".", f"_{kind}.")
        caption = {"image_id": numbers[_image(record)], "caption": caption_of(config.runner, record)}
        found.setdefault(name, []).append(caption)
    return found


def caption_of(runner: DictConfig, record: Record) -> str:
    """The caption as one line, without the prefix or with it, as the runner compares captions."""
    text = record["caption"] if runner.metrics_prefix == "strip" else record["text"]
    return " ".join(whole_text(text).split())


def _image(record: Record) -> str:
    return str(record.get("image_id", record["id"]))


def _image_ids(names: Sequence[str]) -> dict[str, int | str]:
    """Id -> the number that it is, as evaluation servers want it; the ids as they are, unless all are numbers."""
    distinct = set(names)
    numbers = {
        name: int(name) for name in distinct if name.isascii() and name.isdigit() and len(name) < MOST_DIGITS
    }
    if len(numbers) == len(distinct) == len(set(numbers.values())):
        return dict(numbers)
    return {name: name for name in distinct}


@dataclass
class Sidecars:
    """`runner.sidecar`: a .txt with the caption beside each photograph, such as a.txt beside a.jpg.

    It is written when all captions are there, and stands in the photograph's own folder. Where two photographs of a
    folder differ in their suffix alone, it is a.jpg.txt. A caption with a sentiment goes to a.positive.txt. A .txt that
    this run has not written is never replaced, unless `runner.sidecar=overwrite`.

    Attributes:
        runner: the runner's config.
        path: the run directory.
        kinds: of captions that a photograph has; "" alone where it has one.
        record_id: from the id of an item and a kind to the id of the record.
    """

    runner: DictConfig
    path: Path
    kinds: Sequence[str] = ("",)
    record_id: Callable[[str, str], str] = lambda item, kind: item
    _places: dict[str, list[Path]] = field(default_factory=dict)
    _written: dict[str, set[bytes]] = field(default_factory=dict)

    def prepare(self, data: PhotoData) -> None:
        """Find out, before anything is loaded, where the captions of the run's photographs go.

        Raises:
            UsageError: a .txt that is there already, two captions for one, or a folder that cannot be written to.
        """
        if not self.runner.get("sidecar"):
            return
        twins = Counter(_stem(path) for path in {path for item in data.items for path in item.paths})
        own = data.own_items()
        self._places = {
            self.record_id(item.id, kind): _files(item, kind, twins) for item in own for kind in self.kinds
        }
        files = [file for found in self._places.values() for file in found]
        twice = [str(file) for file, count in Counter(files).items() if count > 1]
        require(not twice, "runner.sidecar", self.runner.sidecar, _two_captions(twice))
        for folder in dict.fromkeys(file.parent for file in files):
            if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
                raise UsageError(f"cannot write {folder}, for runner.sidecar: it may not be written to")
        self._look_back()
        self._refuse([file for name, found in self._places.items() for file in self._others(name, found)])

    def write(self, records: Sequence[Record]) -> None:
        """Write the captions of the records that are done.

        Raises:
            UsageError: a file that cannot be written, or a .txt that somebody has made in the meantime; the others
                are written all the same.
        """
        if not self._places:
            return
        self._look_back()
        left: list[Path] = []
        for record in records:
            found = self._places.get(record["id"], []) if record["status"] == "done" else []
            foreign = self._others(record["id"], found)
            left += foreign
            content = self._content(record) if found else b""
            for file in found:
                if file not in foreign and _content(file) != content:
                    write_bytes(file, content, "a folder of photographs")
        self._refuse(left)

    def _others(self, name: str, files: Sequence[Path]) -> list[Path]:
        """Those of a record's files that are there and that this run has not written."""
        if self.runner.sidecar == OVERWRITE:
            return []
        own = self._written.get(name, set())
        return [file for file in files if is_there(file) and _content(file) not in own]

    def _look_back(self) -> None:
        """Find out what this run writes, and may have written before: the captions of all of its records."""
        self._written = defaultdict(set)
        for record in parse_records(self.path / RECORDS)[0]:
            if record.get("status") == "done" and "caption" in record and "text" in record:
                self._written[record["id"]].add(self._content(record))

    def _content(self, record: Record) -> bytes:
        return f"{caption_of(self.runner, record)}\n".encode()

    def _refuse(self, files: Sequence[Path]) -> None:
        if files:
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            raise UsageError(
                f"runner.sidecar={quoted(self.runner.sidecar)}: {files[0]}{more} is there already, and not of this "
                "run: move it away, or replace it by runner.sidecar=overwrite"
            )


def _stem(path: Path) -> tuple[Path, str]:
    """What two photographs share whose .txt would be the same file, also where a disk does not tell A from a."""
    return path.parent, path.stem.casefold()


def _files(item: ImageItem, kind: str, twins: Mapping[tuple[Path, str], int]) -> list[Path]:
    middle = f".{kind}" if kind else ""
    return [
        path.parent / f"{path.name if twins[_stem(path)] > 1 else path.stem}{middle}.txt"
        for path in item.paths
    ]


def _two_captions(files: Sequence[str]) -> str:
    return f"false, since {files[0] if files else 'a file'} would hold the captions of two items"


def _content(file: Path) -> bytes | None:
    """What a file holds; None for what is no file."""
    try:
        with open_regular(file) as stream:
            return stream.read()
    except OSError:
        return None
