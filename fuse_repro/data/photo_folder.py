"""The photographs in a folder, and what else is there that people may take for one, counted by kind."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fuse_repro.data.photo import HEIF_SUFFIXES, NO_HEIF, SUFFIXES, UNREAD, can_read_heif, suffixes
from fuse_repro.errors import UsageError, quoted

FOLDER, LINKED, UNREADABLE = "folder", "linked folder", "unreadable folder"
NO_FILE = " that is no file"  # a link to nowhere, a pipe


@dataclass(frozen=True)
class PhotoFolder:
    """What `look_into` finds.

    Attributes:
        photos: regular files whose suffix is that of a photograph, sorted by their path below the folder.
        not_read: what is left out: a suffix, or a kind of folder -> how many.
    """

    photos: tuple[Path, ...]
    not_read: Mapping[str, int]


def look_into(folder: Path, recursive: bool = False) -> PhotoFolder:
    """Find the photographs in a folder.

    Hidden files and folders, whose names begin with a dot, are passed over and not counted: macOS leaves a `._a.jpg`
    beside every photograph. Links to folders are not followed.

    Args:
        folder: the folder.
        recursive: whether folders in it are looked into, too.

    Raises:
        UsageError: a folder that cannot be read; for one inside it, it is counted instead.
    """
    photos: list[Path] = []
    left: Counter[str] = Counter()
    known = suffixes()
    for path, found in _below(folder, recursive):
        suffix = path.suffix.lower()
        if found:
            left[found] += 1
        elif suffix in known:
            if path.is_file():
                photos.append(path)
            else:
                left[suffix + NO_FILE] += 1
        elif suffix in HEIF_SUFFIXES or UNREAD.fullmatch(suffix):
            left[suffix] += 1
    photos.sort(key=lambda path: path.relative_to(folder).parts)
    order = sorted(left, key=lambda kind: (not kind.startswith("."), kind))
    return PhotoFolder(tuple(photos), {kind: left[kind] for kind in order})


def _below(folder: Path, recursive: bool) -> Iterator[tuple[Path, str]]:
    """Every file that is not hidden, with ""; and every folder that is not looked into, with its kind."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            there = [path for path in here.iterdir() if not path.name.startswith(".")]
        except OSError as err:
            if here == folder:
                raise UsageError(
                    f"dataset.path={quoted(str(folder))} cannot be read ({err.strerror}): "
                    "give a folder that you may read"
                ) from err
            yield here, UNREADABLE
            continue
        for path in there:
            if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a link leads round in a circle
                yield path, ""
            elif not recursive:
                yield path, FOLDER
            elif path.is_symlink():
                yield path, LINKED
            else:
                waiting.append(path)


def counted(not_read: Mapping[str, int]) -> str:
    """What is left out, in words.

    >>> counted({".heic": 2, "folder": 3})
    '2 .heic, 3 folders'
    """
    return ", ".join(
        f"{count} {kind}{'s' if count > 1 and not kind.startswith('.') else ''}"
        for kind, count in not_read.items()
    )


def said_not_read(folder: Path, not_read: Mapping[str, int]) -> str:
    """One line about what is left out of a folder, and how it would be read."""
    parts = [f"not read in {folder}: {counted(not_read)}; allowed are {', '.join(suffixes())}"]
    if not can_read_heif() and any(kind in HEIF_SUFFIXES for kind in not_read):
        parts.append(NO_HEIF)
    if FOLDER in not_read:
        parts.append("dataset.recursive=true reads folders, too")
    return "; ".join(parts)


def no_photo(folder: Path, not_read: Mapping[str, int]) -> UsageError:
    """The error about a folder without photographs."""
    what = f"dataset.path={quoted(str(folder))} holds no photo: put {', '.join(SUFFIXES)} files into it"
    return UsageError(f"{what}; {said_not_read(folder, not_read)}" if not_read else what)
