"""When the files of a cached folder are hashed again and compared with what was recorded when it was made.

    always   on the first use in every run
    changed  on first use after a change of size, inode or modification time of any of its files
    never    only sizes are looked at

What a folder's files looked like when they were last verified is kept in its `.verified`. Whatever is not exactly
what would be written now is not trusted, so a torn or foreign one costs one hashing and nothing else.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from fuse_repro.errors import UsageError, require
from fuse_repro.progress import BYTES, bar
from fuse_repro.storage.reading import require_regular
from fuse_repro.weights.listing import LISTING, Damaged, Listing, check_files, read_listing

ALWAYS, CHANGED, NEVER = "always", "changed", "never"
MODES = (ALWAYS, CHANGED, NEVER)
STAMP = ".verified"
BLOCK = 1 << 23  # bytes hashed at once


@dataclass(frozen=True)
class _Policy:
    """How a run verifies.

    Attributes:
        mode: one of MODES.
        hashed: sha256 of files that this run has hashed, by path and state, so that it hashes none twice; None
            keeps nothing.
    """

    mode: str = CHANGED
    hashed: dict[tuple[object, ...], str] | None = field(default=None, hash=False)


_policy: ContextVar[_Policy] = ContextVar("weights.verify", default=_Policy())  # noqa: B039 - frozen


@contextlib.contextmanager
def verifying(mode: str) -> Iterator[None]:
    """Verify like this within: `weights.verify` of a run, which reaches every reader of the cache.

    Args:
        mode: one of MODES.

    Raises:
        UsageError: another mode.
    """
    require(mode in MODES, "weights.verify", mode, f"one of {', '.join(MODES)}")
    token = _policy.set(_Policy(mode, {}))
    try:
        yield
    finally:
        _policy.reset(token)


def current_mode() -> str:
    """How to verify here; `changed` outside of a run."""
    return _policy.get().mode


def verified(folder: Path, mode: str) -> Listing:
    """The listing of a cached folder whose files are as it says, as far as `mode` looks.

    Args:
        folder: made by `fuse_repro.weights.cache`.
        mode: one of MODES.

    Raises:
        Damaged: they are not.
    """
    listing = read_listing(folder)
    check_files(folder, listing)
    if mode == NEVER:
        return listing
    try:
        stamp = stamp_of(folder, listing)
        if mode == CHANGED and _kept(folder) == stamp:
            return listing
        digests = hash_files(folder, list(listing.digests), folder.name)
    except (OSError, UsageError) as err:
        raise Damaged(f"a file of it cannot be read ({err})") from err
    for name, digest in digests.items():
        if digest != listing.digests[name]:
            with contextlib.suppress(OSError):
                (folder / STAMP).unlink(missing_ok=True)
            raise Damaged(f"the sha256 of {name!r} is not what it was")
    keep_stamp(folder, stamp)
    return listing


def stamp_of(folder: Path, listing: Listing) -> str:
    """What the files look like now: size, inode and modification time of each, and the sha256 of their listing."""
    files = {name: _state(folder / name) for name in sorted(listing.sizes)}
    return json.dumps(
        {"listing": hashlib.sha256((folder / LISTING).read_bytes()).hexdigest(), "files": files}
    )


def keep_stamp(folder: Path, stamp: str) -> None:
    """Write the stamp whole; where the cache cannot be written, none is kept."""
    temporary = folder / f"{STAMP}.{os.getpid()}.tmp"
    with contextlib.suppress(OSError):
        try:
            temporary.write_text(stamp, encoding="utf-8")
            temporary.replace(folder / STAMP)
        finally:
            temporary.unlink(missing_ok=True)


def hash_files(directory: Path, names: Sequence[str], label: str) -> dict[str, str]:
    """sha256 of each named file of a folder; none is read twice in a run.

    Args:
        directory: the folder.
        names: of regular files, relative to it.
        label: names the folder on the progress bar.

    Raises:
        UsageError: a file cannot be read.
    """
    hashed = _policy.get().hashed
    digests = {}
    try:
        states = {name: (str(directory / name), *_state(directory / name)) for name in names}
        total = sum(state[1] for state in states.values())
        with bar(f"hashing {label}", total, BYTES) as advance:
            for name, state in states.items():
                if hashed is None or state not in hashed:
                    require_regular(directory / name)
                    digests[name] = _sha256(directory / name, advance)
                else:
                    digests[name] = hashed[state]
                    advance(state[1])
                if hashed is not None:
                    hashed[state] = digests[name]
    except OSError as err:
        raise UsageError(
            f"cannot read {err.filename or directory} ({err.strerror or err}): check the disk and its permissions"
        ) from err
    return digests


def _sha256(path: Path, advance: Callable[[float], None]) -> str:
    """Of a file, block by block: one of some GB alone takes longer than anybody waits without a word."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_ino, found.st_mtime_ns


def _kept(folder: Path) -> str | None:
    """The stamp of the last verification; None if there is none to be read."""
    path = folder / STAMP
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except (OSError, ValueError):
        return None
