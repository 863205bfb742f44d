"""Any file from outside is opened by one door: what is no file, no text or no JSON is said, and nothing hangs."""

import os
import socket
from pathlib import Path

import pytest

from fuse_repro.errors import UsageError
from fuse_repro.storage.reading import (
    below,
    is_folder,
    is_there,
    json_lines,
    open_regular,
    open_text,
    parse_json,
    read_text,
    require_regular,
    whole_text,
)

LONG = "x" * 5000


def reason(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_text(path, UsageError)
    return str(caught.value)


def test_only_a_regular_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe without a writer made every reader wait for ever."""
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    os.mkfifo("pipe.json")
    Path("folder.json").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.json")
        assert reason(Path("pipe.json")) == "a named pipe, not a file"
        assert reason(Path("socket.json")) == "a socket, not a file"
    assert reason(Path("/dev/zero")) == "a device, not a file"
    assert reason(Path("folder.json")) == "Is a directory"
    assert reason(Path("missing.json")) == "No such file or directory"
    assert reason(Path(LONG)) == "File name too long"
    assert reason(Path("a\0b")) == "a path holds no NUL"
    for path in ("pipe.json", "folder.json", LONG, "a\0b"):
        for door in (require_regular, open_regular, open_text):
            with pytest.raises(OSError):
                door(path)


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.txt").symlink_to("a.txt")
    assert read_text(tmp_path / "b.txt", UsageError) == "text"


def test_what_is_nowhere(tmp_path: Path) -> None:
    assert not is_there(tmp_path / LONG)
    assert not is_there(tmp_path / "a\0b")
    assert not is_folder(tmp_path / LONG)
    assert not is_folder(tmp_path / "a\0b")
    assert is_folder(tmp_path)


def test_text_is_utf_8_without_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffa\r\nb\u2028c\x0bd\n".encode())
    assert read_text(path, UsageError) == "a\r\nb\u2028c\x0bd\n"
    with open_text(path) as lines:
        assert list(lines) == ["a\r\n", "b\u2028c\x0bd\n"]
    path.write_bytes(b"\xff")
    assert reason(path) == "not UTF-8 text"


def test_lines_end_at_a_line_feed_alone() -> None:
    text = '"a\u2028b\u0085c"\r\n\n \n[1]'
    assert list(json_lines(text, lambda _, why: UsageError(why))) == [(1, "a\u2028b\u0085c"), (4, [1])]
    with pytest.raises(UsageError, match=r"^2: Expecting value"):
        list(json_lines("1\nx", lambda number, why: UsageError(f"{number}: {why}")))


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "9" * 5000, "x"])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize("name", ["..", "../a", "a/../../b", "/etc/passwd", "", "a\0b", 3, None, ["a"]])
def test_no_path_in_a_file_leads_out_of_its_folder(name: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a"):
        below(tmp_path, name)


def test_a_path_in_a_file_leads_below_its_folder(tmp_path: Path) -> None:
    assert below(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"
    assert below(tmp_path, "a..b") == tmp_path / "a..b"


def test_half_a_letter_is_marked() -> None:
    assert whole_text("a\ud83d b\udcff \U0001f600 \ufeffc") == "a\ufffd b\ufffd \U0001f600 \ufeffc"
