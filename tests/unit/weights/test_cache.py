"""Cache entries are complete or absent, whatever happens."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import fuse_repro
from fuse_repro.errors import UsageError
from fuse_repro.weights.cache import LISTING, cache_folder, cached

SPEC = {"made": "for this test"}
ROOT = Path(fuse_repro.__file__).parents[1]


def write_two(folder: Path) -> None:
    (folder / "a.txt").write_text("a")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("bb")


def refuse(folder: Path) -> None:
    raise AssertionError("built again")


def start(code: str, *arguments: object) -> subprocess.Popen:
    """Run `code` in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_an_entry_lists_its_files_and_is_built_once(cache):
    entry = cached(cache, "label 1/2", SPEC, "a test", write_two)
    assert entry.directory.parent == cache
    assert entry.directory.name.startswith("label-1-2-")
    assert list(entry.files) == ["a.txt", "sub/b.txt"]
    assert entry.files["a.txt"] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert cached(cache, "label 1/2", SPEC, "a test", refuse) == entry


def test_another_spec_is_another_entry(cache):
    one = cached(cache, "x", {"made": 1}, "a test", write_two)
    other = cached(cache, "x", {"made": 2}, "a test", write_two)
    assert one.directory != other.directory


@pytest.mark.parametrize("damage", ["no listing", "torn listing", "missing file", "wrong size"])
def test_a_damaged_entry_is_rebuilt(cache, damage):
    entry = cached(cache, "x", SPEC, "a test", write_two)
    listing = entry.directory / LISTING
    if damage == "no listing":
        listing.unlink()
    elif damage == "torn listing":
        listing.write_text(listing.read_text()[:20])
    elif damage == "missing file":
        (entry.directory / "a.txt").unlink()
    else:
        (entry.directory / "a.txt").write_text("longer")
    assert cached(cache, "x", SPEC, "a test", write_two) == entry
    assert (entry.directory / "a.txt").read_text() == "a"


def test_a_failed_build_leaves_nothing(cache):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise UsageError("no luck")

    with pytest.raises(UsageError, match="no luck"):
        cached(cache, "x", SPEC, "a test", fail)
    assert [path.name for path in cache.iterdir() if not path.name.endswith(".lock")] == []


def test_a_build_killed_midway_is_not_trusted(cache):
    code = """
        import sys, time
        from pathlib import Path
        from fuse_repro.weights.cache import cached

        def build(folder):
            (folder / "a.txt").write_text("half")
            time.sleep(60)

        cached(sys.argv[1], "x", {"made": "for this test"}, "a test", build)
    """
    process = start(code, cache)
    wait_for(lambda: list(cache.glob(".x-*.building/a.txt")))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(cache.glob("x-*"))
    entry = cached(cache, "x", SPEC, "a test", write_two)
    assert (entry.directory / "a.txt").read_text() == "a"
    assert not list(cache.glob(".x-*.building"))


def test_processes_wait_for_each_other(cache, tmp_path):
    code = """
        import sys, time
        from pathlib import Path
        from fuse_repro.weights.cache import cached

        def build(folder):
            with open(sys.argv[2], "a") as log:
                log.write("built\\n")
            time.sleep(1)
            (folder / "a.txt").write_text("a")

        assert cached(sys.argv[1], "x", {}, "a test", build).files
    """
    processes = [start(code, cache, tmp_path / "log") for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "built\n"


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to the cache folder .*file.*: .*FUSE_REPRO_CACHE"):
        cached(tmp_path / "file", "x", SPEC, "a test", write_two)


def test_a_full_disk_is_named(cache):
    def fill(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="No space left on device"):
        cached(cache, "x", SPEC, "a test", fill)


def test_the_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("FUSE_REPRO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "fuse_repro"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "fuse_repro"
    monkeypatch.setenv("FUSE_REPRO_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"


def test_the_listing_holds_sizes_and_the_source(cache):
    entry = cached(cache, "x", SPEC, "a test", write_two)
    listing = json.loads((entry.directory / LISTING).read_text())
    assert listing["source"] == entry.source == "a test"
    assert listing["files"]["sub/b.txt"]["size"] == 2
