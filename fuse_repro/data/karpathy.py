"""Karpathy's splits of captioned photographs (Karpathy and Li 2015): one form of JSON for several data sets."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.data.downloaded import MALFORMED, DataSource, image_path
from fuse_repro.data.images import ImageItem
from fuse_repro.errors import UsageError
from fuse_repro.storage.reading import whole_text

Row = Mapping[str, Any]


def karpathy_items(
    source: DataSource,
    path: Path,
    split: str,
    name: Callable[[Row], str],
    places: Callable[[Row], Sequence[str]],
) -> list[ImageItem]:
    """The photographs of a split with their captions, in the order of the file.

    Args:
        source: the data set, for messages.
        path: the file, which lies in the data set's folder.
        split: of the split.
        name: from an image of the file to its id.
        places: from an image to where its photograph may lie below the folder.

    Raises:
        UsageError: a file that is damaged, or an image that is not in the format.
    """
    (rows,) = source.rows(source.read(path), path, "images")
    return [_item(source, path, row, name, places) for row in rows if row.get("split") == split]


def _item(
    source: DataSource,
    path: Path,
    row: Row,
    name: Callable[[Row], str],
    places: Callable[[Row], Sequence[str]],
) -> ImageItem:
    try:
        photo = image_path(path.parent, *places(row))
        captions = tuple(whole_text(sentence["raw"]).strip() for sentence in row["sentences"])
        return ImageItem(name(row), photo, captions)
    except UsageError as err:
        raise source.wrong(str(err)) from err
    except MALFORMED as err:
        raise source.wrong(f"an image of {path.name} has no {err}") from err
