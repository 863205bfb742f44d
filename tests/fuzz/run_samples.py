"""Records and results of every kind of run, and a sweep with points in several states."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.runs.directory import RunDirectory

BOTH = {"low": 0.125, "high": 0.75}


def _caption(name: str, objective: float) -> dict[str, Any]:
    terms = {"fluency": objective / 3, "image": 2 * objective / 3}
    beam = [
        {"text": "An image of a cat", "parent": 0, "finished": False, "objective": objective, "terms": terms},
        {
            "text": "An image of the",
            "parent": 0,
            "finished": True,
            "objective": objective + 1,
            "terms": terms,
        },
    ]
    detailed = {key: {"raw": value / 2, "weight": 2.0, "weighted": value} for key, value in terms.items()}
    return {
        "id": name,
        "status": "done",
        "image": "gone.png",
        "license": "CC0",
        "source": "https://example.org/?a=1&b=2",
        "references": ["A cat."],
        "prefix": "An image of",
        "text": "An image of a cat.",
        "caption": "a cat.",
        "finished": True,
        "objective": objective,
        "terms": detailed,
        "steps": [{"beam": beam}, {"beam": beam[:1]}],
    }


def _cell(task: str, seed: int, method: str) -> dict[str, Any]:
    name = {"id": f"{task}/{seed}/{method}", "task": task, "label": "capital", "seed": seed, "method": method}
    scores = {"accuracy": 0.25 + seed / 2, "loss": 1.5, "items": 4, "candidates": 2}
    matching = {"loss": 0.125, "scores": [[0, 1.0, 0.5], [5, 0.5, 0.25]]}
    more = {"model": "m", "dropped": {"of no single token": 3}, "matching": matching}
    return {**name, **scores, **more, "status": "done"}


FAILURE = {"id": "broken", "status": "failed", "image": "gone.png", "error": "cannot be read"}
METRICS = {"CIDEr": 17.0, "BLEU-1": 30.0, "items": 2}
_fidelity = {name: {"mean": 0.5, "count": 3} | BOTH for name in ("spearman", "recall@64")}
_map = {"kind": "map", "status": "done", "metrics_unit": "percent", "objective": {"mean": 0.5} | BOTH}
_cells = [
    _cell(task, seed, method) for task in ("P30", "P36") for seed in (0, 1) for method in ("fuse", "relative")
]
_sentiments = [
    _caption(f"a/{name}", 2.0) | {"image_id": "a", "sentiment": name}
    for name in ("none", "positive", "negative")
]

KINDS: Mapping[str, tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]] = {
    "captions": (
        [_caption("one", 6.0), _caption("two", 7.0), FAILURE],
        {"runner": "captions", "metrics": METRICS, "metrics_unit": "percent", "timing": {"seconds": 3.0}},
    ),
    "transfer": (
        [*_cells, FAILURE | {"method": "fuse", "task": "P36"}],
        {
            "runner": "transfer",
            "methods": {
                name: {"mean_over_relations": 0.5, "tasks": {"P30": 0.5, "P36": 0.25}} | BOTH
                for name in ("fuse", "relative")
            },
        },
    ),
    "fidelity": (
        [{"id": "p", "status": "done", "kind": "fidelity", "objective": "fluency", "methods": {}}],
        {
            "runner": "fidelity",
            "methods": {"default": _fidelity, "table": _fidelity},
            "by_length": {"0": {"default": _fidelity}, "2": {"default": _fidelity}},
            "by_objective": {"pair": {"default": _fidelity}},
            "by_class": {"default": {"1 x 1": _fidelity["spearman"]}},
        },
    ),
    "maps": (
        [
            _map | {"id": "fuse", "map": "fuse", "objectives": {"a": 0.5}, "metrics": {"CIDEr": 17.0}},
            _map
            | {
                "id": "random",
                "map": "random",
                "objectives": {"a": 0.75},
                "precision": {"mean": 0.25} | BOTH,
            },
        ],
        {"runner": "maps"},
    ),
    "inversion": (
        [_caption("one", 6.0) | {"targets": ["a text", "another"], "references": [], "image": None}],
        {
            "runner": "invert",
            "metrics": {"word_F1": 61.25, "exact_match": 0.0},
            "metrics_note": "As for SQuAD.",
        },
    ),
    "sentiment": (_sentiments, {"runner": "captions", "metrics": {"positive METEOR": 9.0, "items": 3}}),
}


def sweep_sample(folder: Path) -> None:
    """Two points done, one failed, one interrupted, one not begun."""
    points = []
    for number, name in enumerate("abcde"):
        overrides = {"optimizer.candidates": (8, 16, None)[number % 3], "seed": number % 2, "adapter": "fuse"}
        points.append({"id": name, "directory": name, "overrides": overrides})
        if name == "e":
            continue
        run = RunDirectory(folder / name, {"name": "grid", "seed": number % 2, "paper_cell": "fuse/coco"})
        run.open(device="cpu", weights={})
        run.append(_caption("one", 2.0 + number))
        if name in "ab":
            run.finish({"runner": "captions", "metrics": METRICS})
        else:
            run.fail(RuntimeError("x")) if name == "c" else run.interrupt(KeyboardInterrupt())
    content = {
        "format": 1,
        "id": "ab",
        "name": "grid",
        "created": "2026-05-02T14:03:59+00:00",
        "versions": {"fuse_repro": None},
        "overrides": ["experiment=x"],
        "axes": {"seed": [0, 1]},
        "points": points,
    }
    (folder / "sweep.json").write_text(json.dumps(content))
    (folder / "slurm_jobs.json").write_text(json.dumps({"e": "12_3"}))
