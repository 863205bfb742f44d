"""Files of a run that are damaged, or none at all: what is read of them, and the one line where nothing is."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuse_repro.errors import UsageError
from fuse_repro.runs.files import parse_records, read_json, scan_records
from fuse_repro.runs.sweep_file import FORMAT, read_sweep

DEEP = b"[" * 100_000


@pytest.fixture(autouse=True)
def _nothing_waits() -> Iterator[None]:
    """A named pipe that is opened for reading waits for a writer: that is a failure, and no endless test."""
    signal.alarm(30)
    yield
    signal.alarm(0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is damaged"),
        (b'{"state": "do', "is damaged"),
        (b"\x00\xff\xfe garbage", "is damaged"),
        (b"[1, 2]", "is damaged (not a JSON object)"),
        (b"NaN", "is damaged (not a JSON object)"),
        (DEEP, "is damaged"),
        (b'{"a": "\xff"}', "is damaged"),
    ],
)
def test_json_that_is_damaged(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path} {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_json, scan_records, parse_records])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file(read: object, make: object, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    make(path)  # type: ignore[operator]
    with pytest.raises(UsageError, match=r"^cannot read .*(a named pipe, not a file|Is a directory)"):
        read(path)  # type: ignore[operator]


def test_a_path_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="File name too long"):
        read_json(tmp_path / ("x" * 5000))


@pytest.mark.parametrize(
    "line",
    [b"{", b"3", b"[]", b"null", b'{"id": []}', b'{"id": 1.5}', b"\xff", b"\x00" * 40, DEEP, b"NaN", b" "],
)
def test_a_damaged_record_is_named_and_the_others_are_read(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"id": "a"}\n' + line + b'\n{"id": "b"}\n{"id": "torn')
    records, length, damaged = scan_records(path)
    assert [record["id"] for record in records] == ["a", "b"]
    assert damaged == [2]
    assert length == len(path.read_bytes()) - len(b'{"id": "torn')
    with pytest.raises(UsageError, match="is damaged at line 2; delete that line"):
        parse_records(path)


def test_no_records_are_no_damage(tmp_path: Path) -> None:
    assert scan_records(tmp_path / "records.jsonl") == ([], 0, [])
    (tmp_path / "records.jsonl").write_bytes(b"")
    assert scan_records(tmp_path / "records.jsonl") == ([], 0, [])


def sweep_file(folder: Path, **changes: object) -> Path:
    row = {"id": "p", "directory": "p", "overrides": {"seed": 1}}
    whole = {"format": FORMAT, "id": "s", "name": "n", "created": "", "overrides": [], "versions": {}}
    (folder / "sweep.json").write_text(json.dumps({**whole, "points": [row], **changes}))
    return folder


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", DEEP, b"NaN"])
def test_a_damaged_list_of_points_without_points_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"sweep\.json is damaged") as caught:
        read_sweep(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_named_pipe_is_no_list_of_points(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sweep.json")
    with pytest.raises(UsageError, match="a named pipe"):
        read_sweep(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("id", 3), ("name", None), ("overrides", {}), ("versions", []), ("joined", 3), ("created", [])],
)
def test_a_value_of_another_kind_is_said_and_the_points_are_kept(
    key: str, value: object, tmp_path: Path
) -> None:
    sweep = read_sweep(sweep_file(tmp_path, **{key: value}))
    assert list(sweep.points) == ["p"]
    (said,) = sweep.damage
    assert f"is damaged ({key} is " in said


@pytest.mark.parametrize(
    "row",
    [3, None, [], {"id": "q"}, {"id": "q", "directory": "../q", "overrides": {}}, {"id": "q", "directory": 3},
     {"id": "q", "directory": "q", "overrides": 3}, {"id": "q", "directory": "q", "overrides": float("nan")}],
)  # fmt: skip
def test_a_damaged_point_is_said_and_the_others_are_kept(row: object, tmp_path: Path) -> None:
    good = {"id": "p", "directory": "p", "overrides": {}}
    sweep = read_sweep(sweep_file(tmp_path, points=[row, good]))
    assert list(sweep.points) == ["p"]
    (said,) = sweep.damage
    assert "at its point 1; restore it" in said


def test_another_version_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has format 99, and this version reads format"):
        read_sweep(sweep_file(tmp_path, format=99))
