"""`entry.json`: what a folder of the cache holds, file by file, as it was when the folder was made."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fuse_repro.storage.reading import open_regular

LISTING = "entry.json"
SHA256 = re.compile(r"[0-9a-f]{64}")
READ_BY_LIBRARIES = (".safetensors", ".json", ".txt", ".model", ".jinja")


class Damaged(Exception):
    """A folder of the cache is not what it was when it was made; the text says in what, as "its ..." or a file."""


@dataclass(frozen=True)
class Listing:
    """What entry.json says.

    Attributes:
        source: where the files came from.
        sizes: of every file, by its name relative to the folder, in bytes.
        digests: sha256 (hex) of every file, by the same names.
    """

    source: str
    sizes: dict[str, int]
    digests: dict[str, str]

    def text(self) -> str:
        """The content of entry.json."""
        files = {name: {"size": self.sizes[name], "sha256": self.digests[name]} for name in self.sizes}
        return json.dumps({"source": self.source, "files": files}, indent=1)


def is_inside(name: str) -> bool:
    """Whether a name, read from a file, is that of a file below the folder it is relative to."""
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and not path.is_absolute()
        and ".." not in path.parts
        and not {"\\", "\0"} & set(name)
    )


def read_listing(folder: Path) -> Listing:
    """The listing of a folder, with every value checked.

    Raises:
        Damaged: there is none, it cannot be read, or it is not of the form that `Listing.text` writes.
    """
    try:
        with open_regular(folder / LISTING) as file:
            value = json.loads(file.read())
    except (OSError, ValueError, RecursionError) as err:
        raise Damaged(f"its {LISTING} is missing or cannot be read") from err
    files = value.get("files") if isinstance(value, dict) else None
    if not isinstance(files, dict) or not files or not isinstance(value.get("source"), str):
        raise Damaged(f"its {LISTING} lists no files")
    for name, file in files.items():
        if not is_inside(name) or not _is_file_entry(file):
            raise Damaged(f"its {LISTING} has no size and sha256 of a file of the folder at {name[:100]!r}")
    sizes = {name: file["size"] for name, file in files.items()}
    return Listing(value["source"], sizes, {name: file["sha256"] for name, file in files.items()})


def check_files(folder: Path, listing: Listing) -> None:
    """See that the listed files are there in their sizes, and none beside them that a library would read.

    Raises:
        Damaged: a file is missing, not a regular file of the folder, of another size, or not listed.
    """
    root = folder.resolve()
    for name, size in listing.sizes.items():
        path = folder / name
        try:
            found = path.stat().st_size if path.is_file() else None
            inside = path.resolve().is_relative_to(root)
        except (OSError, ValueError):
            found, inside = None, False
        if found is None or not inside:
            raise Damaged(f"{name!r} is no file of the folder")
        if found != size:
            raise Damaged(f"{name!r} has {found} bytes instead of {size}")
    known = {*listing.sizes, LISTING}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name not in known and path.suffix in READ_BY_LIBRARIES and not path.name.startswith("."):
            raise Damaged(f"{name!r} is there and not in its {LISTING}")


def _is_file_entry(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    size, digest = value.get("size"), value.get("sha256")
    whole = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    return whole and isinstance(digest, str) and SHA256.fullmatch(digest) is not None
