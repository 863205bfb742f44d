"""Photos, with reference captions where there are some, one at a time for a predict loop."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuse_repro.data.item_data import ItemData
from fuse_repro.data.item_ids import item_id
from fuse_repro.data.photo import HEIF_SUFFIXES, NO_HEIF, load_image, suffixes
from fuse_repro.data.photo_folder import look_into, no_photo, said_not_read
from fuse_repro.errors import UsageError, quoted, require
from fuse_repro.shown import say
from fuse_repro.storage.reading import below, is_folder, is_there, json_lines, read_text, whole_text

__all__ = ["ImageCaptionData", "ImageItem", "PhotoData", "load_image"]

GROUPS = ("each", "all")


@dataclass(frozen=True)
class ImageItem:
    """One photo to caption; whether the file can be read shows in `load_image(item.path)`.

    Attributes:
        id: for records.
        path: the photo.
        references: captions to compare with; empty where there are none.
        license: of the photo, where it is known.
        source: of the photo, where it is known.
        more: further photos that the same caption should suit (a universal prompt).
    """

    id: str
    path: Path
    references: tuple[str, ...] = ()
    license: str | None = None
    source: str | None = None
    more: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All photos of the item."""
        return (self.path, *self.more)


class PhotoData(ItemData):
    """Photographs: the predict loader yields one `ImageItem` at a time, in a fixed order."""

    @property
    def items(self) -> tuple[ImageItem, ...]:
        """Every item of the data set, in the order of the predict loop."""
        raise NotImplementedError

    @property
    def not_read(self) -> Mapping[str, int]:
        """What of the data was left out, as it is no photograph that can be read: kind -> how many."""
        return {}


class ImageCaptionData(PhotoData):
    """Photos from a file, a folder, or a .jsonl file.

    A folder gives its image files sorted by name, without hidden ones (such as the `._a.jpg` of macOS); what looks
    like a photo and is not read is counted in `not_read` and on standard error. Every line of a .jsonl file is an
    object with `file` (looked for beside the .jsonl file, then in `images/` beside it) and, if wanted, `captions` (a
    list of texts), `id` (or `image_id`), `license`, `license_url`, `source`, `flickr_url`.

    An item's id is the `id` of its line, else the file name without its suffix; where that is not unique, every file
    concerned goes by its full name as given, in a folder by its path below the folder. Ids that still are not unique
    are an error.

    Args:
        path: the file or folder.
        group: "each" photo is an item of its own, or "all" together are one item, without references.
        limit: only the first so many photos; None for all.
        allow_outside: whether a .jsonl file may name photos outside its own folder, by absolute paths or `..`.
        recursive: whether folders in the folder are looked into, too; links to folders are not followed.

    Raises:
        UsageError: on construction, for a path that does not exist or holds nothing to caption, and for a
            line of a .jsonl file that is not as above. `load_image` finds out photos that cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        limit: int | None = None,
        group: str = "each",
        allow_outside: bool = False,
        recursive: bool = False,
    ) -> None:
        super().__init__()
        require(group in GROUPS, "dataset.group", group, f"one of {', '.join(GROUPS)}")
        require(
            limit is None or limit >= 1, "dataset.limit", limit, "a whole number from 1 on, or null for all"
        )
        path = Path(path).expanduser()
        self._not_read: Mapping[str, int] = {}
        folder = is_folder(path) and path.suffix.lower() != ".jsonl"
        require(
            folder or not recursive, "dataset.recursive", recursive, "true for a folder only: leave it out"
        )
        if folder:
            items, self._not_read = _from_folder(path, recursive)
        elif path.suffix.lower() == ".jsonl":
            items = _from_jsonl(path, allow_outside)
        else:
            items = _from_file(path)
        items = items[:limit]
        if group == "all":
            items = [ImageItem("all", items[0].path, more=tuple(item.path for item in items[1:]))]
        self._items = tuple(items)

    @property
    def items(self) -> tuple[ImageItem, ...]:
        """Every item, in the order of the predict loop."""
        return self._items

    @property
    def not_read(self) -> Mapping[str, int]:
        """What of a folder was left out: a suffix, or a kind of folder -> how many."""
        return self._not_read


def _from_file(path: Path) -> list[ImageItem]:
    if not is_there(path):
        raise UsageError(
            f"dataset.path={quoted(str(path))} does not exist: give a photo, a folder of photos or a .jsonl file"
        )
    suffix = path.suffix.lower()
    if suffix not in suffixes():
        why = f"cannot be read ({NO_HEIF})" if suffix in HEIF_SUFFIXES else "is no photo"
        raise UsageError(
            f"dataset.path={quoted(str(path))} {why}: allowed are {', '.join(suffixes())}, .jsonl and folders"
        )
    return [ImageItem(path.stem, path)]


def _from_folder(folder: Path, recursive: bool) -> tuple[list[ImageItem], Mapping[str, int]]:
    found = look_into(folder, recursive)
    if not found.photos:
        raise no_photo(folder, found.not_read)
    if found.not_read:
        say(said_not_read(folder, found.not_read))
    names = [path.relative_to(folder).as_posix() for path in found.photos]
    ids = _unique_ids(folder, names, [None] * len(names))
    return [ImageItem(*pair) for pair in zip(ids, found.photos, strict=True)], found.not_read


def _from_jsonl(path: Path, allow_outside: bool) -> list[ImageItem]:
    content = read_text(
        path,
        lambda why: UsageError(
            f"dataset.path={quoted(str(path))} cannot be read ({why}): give a readable .jsonl file"
        ),
    )
    rows = [
        _checked(f"{path}:{number}", row, path.parent, allow_outside)
        for number, row in json_lines(
            content, lambda n, why: UsageError(f"{path}:{n}: not JSON ({why}); write one JSON object a line")
        )
    ]
    if not rows:
        raise UsageError(
            f'dataset.path={quoted(str(path))} holds no item: write lines like {{"file": "cat.jpg"}}'
        )
    ids = _unique_ids(path, [row["file"] for row in rows], [row["id"] for row in rows])
    return [_item(path.parent, name, row) for name, row in zip(ids, rows, strict=True)]


def _checked(where: str, row: Any, folder: Path, allow_outside: bool) -> dict[str, Any]:
    """The object of a line, whose `id`, if there is one, is text."""
    if not isinstance(row, dict) or not isinstance(row.get("file"), str) or not row["file"]:
        raise UsageError(
            f'{where}: no "file"; write an object like {{"file": "cat.jpg", "captions": ["A cat."]}}'
        )
    captions = row.get("captions", [])
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise UsageError(f'{where}: "captions"={captions!r} is not allowed: give a list of texts')
    if not allow_outside:
        try:
            below(folder, row["file"])
        except UsageError as err:
            raise UsageError(f"{where}: {err}, or set dataset.allow_outside=true") from err
    given = row.get("id", row.get("image_id"))
    return {**row, "id": None if given is None else item_id(given, where)}


def _item(folder: Path, name: str, row: Mapping[str, Any]) -> ImageItem:
    beside, in_images = folder / row["file"], folder / "images" / row["file"]
    path = in_images if is_there(in_images) and not is_there(beside) else beside
    license_name = _joined([row.get("license"), row.get("license_url")])
    return ImageItem(
        id=name,
        path=path,
        references=tuple(whole_text(caption) for caption in row.get("captions", [])),
        license=license_name,
        source=_joined([row.get("source"), row.get("flickr_url")]),
    )


def _joined(parts: Sequence[Any]) -> str | None:
    return ", ".join(whole_text(str(part)) for part in parts if part) or None


def _unique_ids(path: Path, files: Sequence[str], given: Sequence[Any]) -> list[str]:
    """The given ids, else the stems, else (where stems clash) the whole names.

    Raises:
        UsageError: an id that stands twice all the same.
    """
    stems = [
        Path(file).stem if known is None else str(known) for file, known in zip(files, given, strict=True)
    ]
    counts = Counter(stems)
    ids = [
        file if known is None and counts[stem] > 1 else stem
        for file, known, stem in zip(files, given, stems, strict=True)
    ]
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise UsageError(f'{path}: the id {twice[0]!r} stands for several items; give each its own "id"')
    return ids
