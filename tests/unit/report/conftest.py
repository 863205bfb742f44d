"""A photo, and a run directory that holds given records."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from report_samples import HARMFUL

from fuse_repro.runs.directory import RunDirectory


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.effect_mandelbrot((800, 600), (-2, -1.2, 1, 1.2), 40).save(path)
    return path


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunDirectory]:
    def make(*records: dict[str, Any], **config: Any) -> RunDirectory:
        run = RunDirectory(tmp_path / "run", {"name": "demo", "seed": 0, "note": HARMFUL} | config)
        run.open(device="cpu", weights={"tiny": {"model.safetensors": "ab" * 32}})
        for record in records:
            run.append(record)
        return run

    return make
