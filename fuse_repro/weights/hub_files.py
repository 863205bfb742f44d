"""Files in the hub's own cache: whether they are what they are called, and how they come into ours."""

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path


def misnamed(files: Sequence[Path]) -> Path | None:
    """The first file whose content is not that of its name; None if there is none.

    The hub keeps a file under its sha256, or its sha1 as git computes it, with a symbolic link to it. Without such a
    link, as on systems that have none, nothing can be said of a file.
    """
    return next((file for file in files if _intact(file) is False), None)


def link_or_copy(file: Path, target: Path) -> None:
    """Bring a file of the hub's cache into ours.

    A hard link costs no space, but damage to it is damage to the hub's file: only a file that can be told from a
    damaged one becomes one. Across file systems it has to be a copy, too.
    """
    real = file.resolve()
    if _digest_in_name(file):
        try:
            os.link(real, target)
            return
        except OSError:
            pass
    shutil.copyfile(real, target)


def _digest_in_name(file: Path) -> str | None:
    """The hex digest that the file behind a link is named by; None if it is not."""
    name = file.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{40}", name) else None


def _intact(file: Path) -> bool | None:
    digest = _digest_in_name(file)
    if digest is None:
        return None
    with file.open("rb") as stream:
        if len(digest) == 64:
            return hashlib.file_digest(stream, "sha256").hexdigest() == digest
        as_git = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
        plain = hashlib.sha1(usedforsecurity=False)  # how some mirrors name files
        while block := stream.read(1 << 20):
            as_git.update(block)
            plain.update(block)
    return digest in (as_git.hexdigest(), plain.hexdigest())
