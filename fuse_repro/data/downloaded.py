"""What the readers of published data sets share: files that the user downloads, and one message where they are not."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError


@dataclass(frozen=True)
class DataSource:
    """A data set as it is published.

    Attributes:
        name: for messages.
        site: where to get it.
        layout: what its folder holds.
    """

    name: str
    site: str
    layout: str

    def file(self, folder: str | Path, *names: str) -> Path:
        """The first of the named files that is in the folder.

        Raises:
            UsageError: none is there; the message says where to get the data set and how the folder must
                look.
        """
        folder = Path(folder).expanduser()
        for name in names:
            if (folder / name).is_file():
                return folder / name
        raise self.wrong(f"{folder} holds no {' or '.join(names)}")

    def read(self, path: Path) -> Any:
        """The JSON value of a file.

        Raises:
            UsageError: the file is damaged or cannot be read.
        """
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as err:
            raise self.wrong(f"{path} cannot be read ({' '.join(str(err).split())})") from err

    def rows(self, value: Any, path: Path, *keys: str) -> list[list[Mapping[str, Any]]]:
        """The lists of objects under these keys of a JSON object.

        Raises:
            UsageError: a key that is not there, or that holds no list of objects.
        """
        found = [value.get(key) if isinstance(value, Mapping) else None for key in keys]
        for key, rows in zip(keys, found, strict=True):
            if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
                raise self.wrong(f"{path} has no list {key!r}")
        return found  # type: ignore[return-value]

    def wrong(self, what: str) -> UsageError:
        """The error that also says where to get the data set."""
        return UsageError(
            f"{self.name}: {what}; it is had from {self.site}, and its folder must hold {self.layout}"
        )


def captions_by_image(annotations: Sequence[Mapping[str, Any]]) -> dict[Any, list[str]]:
    """Image number -> its captions, in the order of their own numbers (COCO's format).

    Raises:
        KeyError: an annotation without one of its keys.
        TypeError: an annotation that is not in the format.
        AttributeError: a caption that is no text.
    """
    captions: dict[Any, list[str]] = defaultdict(list)
    for row in sorted(annotations, key=lambda row: int(row["id"])):
        captions[row["image_id"]].append(row["caption"].strip())
    return captions


def image_path(folder: str | Path, *places: str) -> Path:
    """The first of the places that exists in the folder; where none does the first of all, for messages to name."""
    paths = [Path(folder).expanduser() / place for place in places]
    return next((path for path in paths if path.is_file()), paths[0])
