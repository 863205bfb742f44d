"""Mini masked language models as a run: trained, prompts moved between them, from one source and from two."""

import json
from pathlib import Path

import pytest

from fuse_repro.cli import main

ROLES = {"source": 16, "target": 24, "second": 8}


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    """The experiment, shrunk to models that are trained in a second and need no teacher."""
    changes = [
        "experiment=mini_lms",
        "corpus.size=100",
        "dataset.of.relations=[P30,P37]",
        "dataset.of.cities=1",
        "optimizer.max_steps=4",
        "methods.relative.holdout=10",
        f"cache_dir={tmp_path / 'cache'}",
        f"output_dir={tmp_path / 'run'}",
    ]
    for role, width in ROLES.items():
        own = {"corpus.relations": "[P30,P37]", "corpus.cities": 1, "corpus.fillers": 100, "teacher": "null"}
        sizes = {"embeddings": "own", "width": width, "steps": 3, "batch_size": 8, "layers": 1}
        changes += [f"models.{role}.{key}={value}" for key, value in own.items()]
        changes += [f"models.{role}.settings.{key}={value}" for key, value in sizes.items()]
    return changes


def records(tmp_path: Path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]


def test_prompts_move_between_mini_models(overrides: list[str], tmp_path: Path) -> None:
    assert main(overrides) == 0
    rows = records(tmp_path)
    assert [row.get("error") for row in rows if row["status"] != "done"] == []
    assert {row["method"] for row in rows} >= {"relative", "relative_paper", "procrustes", "source_tuned"}
    assert len({row["candidates"] for row in rows}) == 1
    assert len(list((tmp_path / "cache").glob("mini_*"))) == 2
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert "model.safetensors" in manifest["weights"]["target"]


def test_from_two_sources(overrides: list[str], tmp_path: Path) -> None:
    assert (
        main([*overrides, "runner.sources=[source,second]", "~methods.procrustes", "~methods.random_map"])
        == 0
    )
    rows = records(tmp_path)
    assert {row["status"] for row in rows} == {"done"}
    assert len(list((tmp_path / "cache").glob("mini_*"))) == 3
