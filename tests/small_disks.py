"""File systems of a test's own: small ones, and ones that cannot be written to."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """A file system in memory at `place`, mounted with these options, such as size=16k or ro; else a skipped test."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", place]
    if os.geteuid() or subprocess.run(command, check=False).returncode:
        pytest.skip("only root can mount a disk, and not everywhere")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
