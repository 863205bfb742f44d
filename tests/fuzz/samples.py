"""Valid files, made once by the package itself or by its tests' helpers."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def files_of(make: Callable[[Path], Any]) -> dict[str, bytes]:
    """Every file that `make` writes into the folder it is given: path there -> content."""
    with tempfile.TemporaryDirectory(prefix="fuzz_sample_") as name:
        folder = Path(name) / "inner"
        folder.mkdir()
        make(folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
