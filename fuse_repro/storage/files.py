"""The one door for files that are read again: each is whole or not there, however its writing ends.

What is written goes to a temporary file beside its place, is brought to disk, and then moved into its place.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from fuse_repro.errors import UsageError

DAY_S = 86400.0
TEMPORARY = (".*.tmp", ".tmp??????")  # ours, and safetensors', which has temporary files of its own
REMEDIES = {
    errno.ENOSPC: " that has free space, or free some",
    errno.EDQUOT: " that has free space, or free some",
    errno.EROFS: " on a disk that is not read-only",
    errno.EACCES: " that you may write to",
    errno.EPERM: " that you may write to",
    errno.ENOTDIR: " where no file is in the way",
    errno.EEXIST: " where no file is in the way",
    errno.EISDIR: " where no folder is in the way",
    errno.ENAMETOOLONG: " with a shorter path",
}


@contextmanager
def whole(path: Path, elsewhere: str) -> Iterator[Path]:
    """Yield a temporary file beside `path`, to be filled; it takes the place of `path` if nothing is raised.

    It has the permissions that the umask gives a new file. Folders are made as needed.

    Args:
        path: the file to be replaced or made.
        elsewhere: where else the user may have it written, for the error; "an output_dir".

    Raises:
        UsageError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name[:60]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with writing(path, elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            os.close(handle)
            yield temporary
            if (
                stat.S_IMODE(temporary.stat().st_mode) != mode
            ):  # safetensors makes the file anew, for its owner
                temporary.chmod(mode)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, elsewhere: str) -> None:
    """Replace `path` by `content`; see `whole`."""
    with whole(path, elsewhere) as temporary:
        temporary.write_bytes(content)


def make_folder(path: Path, elsewhere: str) -> None:
    """Make a folder, and those that it is in, and see that a file can be written there; see `whole`.

    For work that takes long before it writes what came of it.
    """
    with writing(path, elsewhere):
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{os.getpid()}-{secrets.token_hex(4)}.tmp"
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)


def sweep_up(folder: Path, older_than_s: float = 0.0) -> None:
    """Remove the temporary files that interrupted processes left in a folder.

    Args:
        folder: need not be there, and may be read-only.
        older_than_s: leave younger ones; above 0 where another process may be writing in the folder.
    """
    for pattern in TEMPORARY:
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if not older_than_s or time.time() - path.lstat().st_mtime > older_than_s:
                    path.unlink()


@contextmanager
def writing(path: Path, elsewhere: str) -> Iterator[None]:
    """Turn what a full, read-only or otherwise unfit disk raises within into a UsageError about writing `path`.

    Args:
        path: what is written.
        elsewhere: see `whole`.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number, reason = _cause(error)
        if number is None and isinstance(error, SafetensorError):
            raise
        remedy = f"choose {elsewhere}{REMEDIES.get(number or 0, '')}"
        raise UsageError(f"cannot write {path}: {reason}; {remedy}") from error


def _cause(error: Exception) -> tuple[int | None, str]:
    """The system's error number and its text; safetensors has the number in its message only."""
    if isinstance(error, OSError):
        return error.errno, error.strerror or str(error)
    number = re.search(r"\(os error (\d+)\)", str(error))
    return (None, str(error)) if number is None else (int(number[1]), os.strerror(int(number[1])))
