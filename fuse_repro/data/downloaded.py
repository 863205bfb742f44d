"""What the readers of published data sets share: files that the user downloads, and one message where they are not."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.storage.reading import below, is_there, parse_json, read_text, whole_text

MALFORMED = (KeyError, TypeError, AttributeError, ValueError)  # what an entry that lacks something raises
MOST_DIGITS = 20


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
            if is_there(folder / name):
                return folder / name
        raise self.wrong(f"{folder} holds no {' or '.join(names)}")

    def read(self, path: Path) -> Any:
        """The JSON value of a file.

        Raises:
            UsageError: the file is damaged or cannot be read.
        """
        text = read_text(path, lambda why: self.wrong(f"{path} cannot be read ({why})"))
        try:
            return parse_json(text)
        except ValueError as err:
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


def captions_by_image(annotations: Sequence[Mapping[str, Any]]) -> dict[int, list[str]]:
    """Image number -> its captions, in the order of their own numbers (COCO's format).

    Raises:
        KeyError: an annotation without one of its keys.
        TypeError: an annotation that is not in the format.
        AttributeError: a caption that is no text.
    """
    captions: dict[int, list[str]] = defaultdict(list)
    for row in sorted(annotations, key=lambda row: image_number(row["id"])):
        captions[image_number(row["image_id"])].append(whole_text(row["caption"]).strip())
    return captions


def image_number(value: object) -> int:
    """The number that stands for an image or annotation, as a number or as text: 9, 9.0, "9", "0009" are one.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < MOST_DIGITS:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    raise TypeError(f"number where it says {str(value)[:40]!r}")


def text_or_none(value: object) -> str | None:
    """A remark such as a licence, which need not be there."""
    return value if isinstance(value, str) and value else None


def image_path(folder: str | Path, *places: str) -> Path:
    """The first place that exists in the folder, else the first of all, which is what a message should name.

    Raises:
        UsageError: a place that leads out of the folder.
    """
    paths = [below(Path(folder).expanduser(), place) for place in places]
    return next((path for path in paths if is_there(path)), paths[0])
