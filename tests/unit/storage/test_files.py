"""The door for files that are read again: whole or not there, shared as the umask says, one line on an unfit disk."""

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_disks import small_disk

from fuse_repro.errors import UsageError
from fuse_repro.storage import files
from fuse_repro.storage.files import make_folder, sweep_up, whole, write_bytes
from fuse_repro.storage.tensors import write


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    with small_disk(tmp_path / "disk", "size=64k") as place:
        yield place


def test_a_file_is_replaced_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_bytes(path, b"one", "x")
    write_bytes(path, b"two", "x")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_raised_while_a_file_is_filled_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"one", "x")

    def fill() -> None:
        with whole(path, "x") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_have_the_permissions_of_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    """A cache can be shared: safetensors alone makes files that nobody else can read."""
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "a.json", b"{}", "x")
        write(tmp_path / "a.safetensors", {"a": torch.ones(2)}, {}, "x")
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "a.json": mode,
        "a.safetensors": mode,
    }


def test_what_is_moved_into_place_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, int]] = []

    def fsync(handle: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{handle}").readlink()), os.fstat(handle).st_size))

    monkeypatch.setattr(files.os, "fsync", fsync)
    write(tmp_path / "a.safetensors", {"a": torch.ones(2)}, {}, "x")
    ((name, size),) = synced
    assert Path(name).parent == tmp_path
    assert size == (tmp_path / "a.safetensors").stat().st_size


def test_temporary_files_of_killed_processes_are_swept_up(tmp_path: Path) -> None:
    kept = ["a.json", ".tmp", ".hidden", "b.tmp"]
    left = [".a.json.1-abc.tmp", ".tmpAb12Cd"]  # the second is how safetensors names its own
    for name in kept + left:
        (tmp_path / name).write_text("")
    sweep_up(tmp_path, files.DAY_S)
    assert len(list(tmp_path.iterdir())) == 6, "another process may be at work on young ones"
    old = time.time() - 2 * files.DAY_S
    os.utime(tmp_path / left[0], (old, old))
    sweep_up(tmp_path, files.DAY_S)
    assert not (tmp_path / left[0]).exists()
    sweep_up(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    sweep_up(tmp_path / "none")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device; choose an output_dir that has free space, or free some"),
        (errno.EDQUOT, "exceeded; choose an output_dir that has free space, or free some"),
        (errno.EROFS, "Read-only file system; choose an output_dir on a disk that is not read-only"),
        (errno.EACCES, "Permission denied; choose an output_dir that you may write to"),
        (errno.EIO, "Input/output error; choose an output_dir"),
    ],
)
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_every_unfit_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, call: str
) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old", "x")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(UsageError) as caught:
        write_bytes(path, b"new", "an output_dir")
    monkeypatch.undo()
    assert str(caught.value) == f"cannot write {path}: {os.strerror(number)}; {said.split('; ')[1]}"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_and_folders_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="; choose an output_dir where no file is in the way"):
            make_folder(place, "an output_dir")
    with pytest.raises(UsageError, match="File exists; choose x where no file is in the way"):
        write_bytes(tmp_path / "file" / "a", b"", "x")
    with pytest.raises(UsageError, match="Is a directory; choose x where no folder is in the way"):
        write_bytes(tmp_path / "folder", b"", "x")
    with pytest.raises(UsageError, match="File name too long; choose x with a shorter path"):
        write_bytes(tmp_path / ("a" * 5000) / "b", b"", "x")


def test_a_full_disk_under_safetensors_is_one_line(disk: Path) -> None:
    path = disk / "a.safetensors"
    write(path, {"a": torch.ones(10)}, {}, "x")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="No space left on device; choose x that has free space") as caught:
        write(path, {"a": torch.ones(100_000)}, {}, "x")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(disk.iterdir()) == [path]


def test_a_read_only_disk_is_one_line(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for attempt in (
        lambda: make_folder(disk, "x"),
        lambda: make_folder(disk / "new", "x"),
        lambda: write_bytes(disk / "a", b"", "x"),
        lambda: write(disk / "a", {"a": torch.ones(1)}, {}, "x"),
    ):
        with pytest.raises(UsageError, match="Read-only file system; choose x on a disk that is not"):
            attempt()
    sweep_up(disk)
