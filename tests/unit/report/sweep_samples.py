"""A sweep's directory with points in every state."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.runs.directory import RunDirectory


def write_sweep(path: Path, points: Sequence[Mapping[str, Any]], **more: Any) -> Path:
    """sweep.json over points that are already there, or not begun."""
    path.mkdir(exist_ok=True)
    axes: dict[str, list] = {}
    for point in points:
        for key, value in point["overrides"].items():
            if value not in axes.setdefault(key, []):
                axes[key].append(value)
    content = {
        "format": 1,
        "id": "ab",
        "name": "grid",
        "created": "2026-05-02T14:03:59+00:00",
        "versions": {},
    }
    content |= {"overrides": ["experiment=x"], "axes": axes, "points": points}
    (path / "sweep.json").write_text(json.dumps(content | more))
    return path


def point(name: str, **overrides: Any) -> dict[str, Any]:
    return {
        "id": name,
        "directory": name,
        "overrides": {key.replace("__", "."): v for key, v in overrides.items()},
    }


def run_at(path: Path, records: Sequence[Mapping[str, Any]] = (), **config: Any) -> RunDirectory:
    """A run that has begun, with these records."""
    run = RunDirectory(path, {"name": "grid", "seed": 0} | config)
    run.open(device="cpu", weights={})
    for record in records:
        run.append(record)
    return run


def caption(name: str, objective: float, image: float = 0.5) -> dict[str, Any]:
    terms = {"image": {"raw": image, "weight": 10.0, "weighted": 10 * image}}
    text = {"prefix": "An image of", "text": "An image of a cat.", "caption": "a cat.", "image": "gone.png"}
    return {"id": name, "status": "done", "objective": objective, "terms": terms, **text}


def cell(task: str, seed: int, method: str, accuracy: float, **more: Any) -> dict[str, Any]:
    name = {"id": f"{task}/{seed}/{method}", "task": task, "seed": seed, "method": method}
    return name | {"status": "done", "accuracy": accuracy, "loss": 1.0, "items": 4, "candidates": 2} | more
