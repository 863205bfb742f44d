"""One input for one reader, watched: what comes out, how long it takes, and what it touches."""

import contextlib
import io
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from fuse_repro.errors import UsageError

PATIENCE_S = 30
FORBIDDEN = (
    "socket.connect",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "pickle.find_class",
)
# Audit event -> the places of each path and of its folder's descriptor among its arguments.
CHANGES: Mapping[str, tuple[tuple[int, int | None], ...]] = {
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.chmod": ((0, 2),),
    "os.truncate": ((0, None),),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
NOWHERE = ("/dev/null", "/dev/tty")

_watched: list["Watch"] = []
_installed: list[bool] = []


@dataclass(frozen=True)
class Reader:
    """A way from files into the package.

    Attributes:
        name: for messages.
        files: path in the folder -> content, which together are valid.
        read: reads the folder.
        attacked: those of the files whose content is replaced; all where it is empty.
    """

    name: str
    files: Mapping[str, bytes]
    read: Callable[[Path], Any]
    attacked: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The files whose content is replaced."""
        return self.attacked or tuple(sorted(self.files))


class Hang(BaseException):
    """The reader did not come to an end."""


class Misdeed(BaseException):
    """The reader did what no reader may do."""


class Watch:
    """Notes what is done outside `folder`, or at all, while it is active."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder.resolve())
        self.misdeeds: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take note of one of the interpreter's audit events."""
        if event in FORBIDDEN:
            self.misdeeds.append(f"{event} {arguments!r:.200}")
        elif event == "open":
            path, mode, flags = arguments
            if flags & WRITING or (isinstance(mode, str) and set(mode) & set("wax+")):
                self._note(event, path)
        elif event in CHANGES:
            for path, folder in CHANGES[event]:
                self._note(event, arguments[path], -1 if folder is None else arguments[folder])

    def _note(self, event: str, path: Any, folder: int = -1) -> None:
        if isinstance(path, int):
            return
        base = Path(f"/proc/self/fd/{folder}").resolve() if folder >= 0 else ""
        where = os.path.realpath(Path(base, os.fsdecode(path)))
        if where not in NOWHERE and not f"{where}{os.sep}".startswith(self.folder + os.sep):
            self.misdeeds.append(f"{event} {where}")


def attempt(reader: Reader, name: str, content: bytes, folder: Path, patience_s: int = PATIENCE_S) -> None:
    """Have the reader read its files from `folder`, with `content` in the one of this name.

    Whatever is no UsageError of one line is raised.
    """
    for path, valid in reader.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content if path == name else valid)
    try:
        with _watching(folder), _limited(patience_s), contextlib.redirect_stdout(io.StringIO()):
            reader.read(folder)
    except UsageError as error:
        if "\n" in str(error) or "\r" in str(error):
            raise Misdeed(f"a message of several lines: {error}") from error


def signature(error: BaseException) -> str:
    """What kind of failure it is: its type, and where in the package it began."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}fuse_repro{os.sep}" in frame.filename]
    place = ours[-1] if ours else frames[-1]
    detail = f" {str(error).partition(' ')[0]}" if isinstance(error, Misdeed) else ""
    return f"{type(error).__name__}{detail} in {Path(place.filename).name}:{place.name}"


@contextlib.contextmanager
def _watching(folder: Path) -> Iterator[None]:
    if not _installed:
        sys.addaudithook(lambda event, arguments: _watched[-1](event, arguments) if _watched else None)
        _installed.append(True)
    watch = Watch(folder)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    _watched.append(watch)
    try:
        yield
    finally:
        _watched.pop()
        tempfile.tempdir = before
    if watch.misdeeds:
        raise Misdeed(watch.misdeeds[0])


@contextlib.contextmanager
def _limited(patience_s: int) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no end after {patience_s} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(patience_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
