"""How any file from outside is opened and read: a regular file, UTF-8, JSON; and where its paths may lead.

A byte order mark says how a text is encoded, and is no part of it; without one a text is UTF-8.
What is no regular file (a folder, a named pipe, a device, a socket) is an OSError, as a file that is missing is one; so
is a path that no file can have, being too long or holding a NUL. Nothing waits for a pipe's other end.
"""

import codecs
import errno
import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TextIO

from fuse_repro.errors import UsageError

KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
LONGEST_MARK = 4  # bytes


def is_there(path: Path) -> bool:
    """Whether anything is at `path`; nothing is where no file can be, at a path too long or with a NUL in it."""
    return os.path.lexists(path)


def is_folder(path: str | Path) -> bool:
    """Whether a folder is at `path`; none is where no file can be."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def require_regular(path: str | os.PathLike[str]) -> None:
    """Check that `path` is a regular file, before a library opens it by its name.

    Raises:
        OSError: there is no such file, or it is none.
    """
    try:
        _check_mode(Path(path).stat().st_mode, path)
    except ValueError as err:
        raise OSError(errno.EINVAL, "a path holds no NUL", os.fspath(path)) from err


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """The regular file at `path`, opened for reading bytes.

    Raises:
        OSError: there is no such file, it is none, or it may not be read.
    """
    require_regular(path)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        _check_mode(os.fstat(handle).st_mode, path)  # it may have been replaced meanwhile
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def open_text(path: str | os.PathLike[str]) -> TextIO:
    """The file as text, without its byte order mark; its lines end at a line feed and nowhere else.

    Raises:
        OSError: as `open_regular` does.
    """
    file = open_regular(path)
    try:
        encoding = encoding_of(file.read(LONGEST_MARK))
        file.seek(0)
        return io.TextIOWrapper(file, encoding=encoding, newline="\n")
    except BaseException:
        file.close()
        raise


def read_text(path: str | os.PathLike[str], wrong: Callable[[str], Exception]) -> str:
    """The whole file as text, without its byte order mark.

    Args:
        path: the file.
        wrong: makes the error of a reason such as "No such file or directory" or "not UTF-8 text".

    Raises:
        Exception: what `wrong` makes, where the file cannot be read, or is in no encoding that can be told.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as err:
        raise wrong(err.strerror or str(err)) from err
    encoding = encoding_of(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as err:
        raise wrong(f"not {encoding.upper().removesuffix('-SIG')} text") from err
    if "\0" in text:
        raise wrong("NUL characters in it, as in UTF-16 without a byte order mark; save it as UTF-8")
    return text


def encoding_of(head: bytes) -> str:
    """The encoding that the byte order mark at the beginning of a file says; UTF-8 where there is none."""
    return next((name for mark, name in MARKS if head.startswith(mark)), "utf-8-sig")


def text_lines(text: str) -> list[str]:
    """The lines of a text or of a table, without their ends.

    A line ends at a line feed, with or without a carriage return before it. A text without any line feed is an old
    Macintosh's, whose lines end at carriage returns. U+2028, U+0085 and the like are part of a line.
    """
    end = "\n" if "\n" in text else "\r"
    lines = text.removesuffix(end).split(end)
    return [line.removesuffix("\r") for line in lines] if text else []


def parse_json(text: str) -> Any:
    """The JSON value.

    Raises:
        ValueError: it is no JSON, or nested so deeply that nobody can mean it.
    """
    try:
        return json.loads(text)
    except RecursionError as err:
        raise ValueError("lists or objects nested too deeply") from err


def json_lines(text: str, wrong: Callable[[int, str], Exception]) -> Iterator[tuple[int, Any]]:
    """Line number and value of every line that is not blank. A line ends at a line feed and nowhere else.

    Args:
        text: of a .jsonl file; U+2028 and the like inside a string are part of it.
        wrong: makes the error of a line number, from 1 on, and a reason.

    Raises:
        Exception: what `wrong` makes, at the first line that is no JSON.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = parse_json(line)
            except ValueError as err:
                raise wrong(number, str(err)) from err
            yield number, value


def below(folder: Path, name: object) -> Path:
    """`folder`/`name`, for a name that stood in a file.

    It stays below the folder by what it says, `..` and absolute paths being refused. Links on the way are followed:
    those on a disk are its owner's.

    Raises:
        UsageError: for a name that leads elsewhere, or is no text.
    """
    text = name if isinstance(name, str) else ""
    if not text or "\0" in text or PurePosixPath(text).is_absolute() or Path(text).is_absolute():
        raise UsageError(f"{name!r} is no path inside {folder}: give a relative one")
    if ".." in Path(text).parts:
        raise UsageError(f"{name!r} leads out of {folder}: give a path without '..'")
    return folder / text


def whole_text(text: str) -> str:
    """The text with U+FFFD for every lone surrogate, such as half an emoji that was cut off in JSON.

    No tokenizer and no file can hold those.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _check_mode(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in KINDS if test(mode)), "no regular file")
        raise OSError(errno.EINVAL, f"{kind}, not a file", os.fspath(path))
