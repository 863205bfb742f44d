"""The lock: one holder among processes and threads, free when its process is gone, and a look that takes nothing."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fuse_repro.storage.locks import FileLock, Held, is_held

HOLD = """
import sys
from pathlib import Path
from fuse_repro.storage.locks import FileLock

FileLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_it_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    kept = tmp_path / "a"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(kept)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    assert is_held(kept)
    with pytest.raises(Held):
        FileLock(kept).acquire(patience_s=0.05)
    other.kill()
    other.wait()
    assert kept.exists()
    assert not is_held(kept), "the file that is left blocks nobody"
    FileLock(kept).acquire(patience_s=0)


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        lock = FileLock(tmp_path / "a")
        lock.acquire()
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        lock.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_a_look_takes_nothing_and_the_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert not is_held(path)
    assert not path.exists()
    path.write_text("a line\n")
    lock = FileLock(path)
    lock.acquire()
    assert is_held(path)
    assert is_held(path)
    assert path.read_text() == "a line\n"
    lock.release()
    assert not is_held(path)
    lock.release()
    lock.acquire(patience_s=0)
    assert is_held(path)


def test_a_moments_look_does_not_stop_whoever_is_patient(tmp_path: Path) -> None:
    path = tmp_path / "a"
    first, second = FileLock(path), FileLock(path)
    first.acquire()
    timer = threading.Timer(0.1, first.release)
    timer.start()
    second.acquire(patience_s=5)
    timer.join()
    assert is_held(path)


def test_whoever_waited_for_a_lock_whose_file_was_removed_excludes_the_others(tmp_path: Path) -> None:
    first, second, third = (FileLock(tmp_path / "lock") for _ in range(3))
    first.acquire()
    waiting = threading.Thread(target=second.acquire, daemon=True)
    waiting.start()
    time.sleep(0.1)
    (tmp_path / "lock").unlink()
    first.release()
    waiting.join(timeout=30)
    with pytest.raises(Held):
        third.acquire(0.0)
    second.release()
