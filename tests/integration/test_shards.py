"""A data set in shards: what is merged from them is what one undivided run writes, byte for byte."""

import json
from pathlib import Path

import pytest
from conftest import make_photo
from tiny_models import save_model, tiny_bert_encoder

from fuse_repro.cli import main
from fuse_repro.runs.directory import read_json

COLOURS = ("red", "green", "blue", "yellow", "orange", "brown", "purple")
CAPTIONS = ["A cat on a table.", "A dog in the park.", "Two kites in the sky."]
TIMES = ("timing",)  # what differs between two runs of the same


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Seven photographs with references, one of which cannot be read, not in the order of their names."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = [{"file": f"{colour}.png", "captions": CAPTIONS[place % 2 :]} for place, colour in enumerate(COLOURS)]
    for colour in COLOURS[:-1]:
        make_photo(folder / f"{colour}.png", colour)
    (folder / f"{COLOURS[-1]}.png").write_bytes(b"no photograph")
    listed = folder / "items.jsonl"
    listed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return listed


@pytest.fixture
def captions(tiny_overrides: list[str], photographs: Path) -> list[str]:
    return [*tiny_overrides, f"dataset.path={photographs}", "runner.clip_score=vision"]


@pytest.fixture
def inversion(tiny_models_folder: Path, tmp_path: Path) -> list[str]:
    encoder = save_model(tiny_bert_encoder(), tmp_path / "bert")
    return [
        "experiment=invert",
        "trainer=cpu",
        "model@models.lm=gpt2",
        "models.lm.source=path",
        f"models.lm.path={tiny_models_folder / 'lm'}",
        "models.encoder.source=path",
        f"models.encoder.path={encoder}",
        "corpus.size=2000",
        "optimizer=gcg",
        "optimizer.candidates=6",
        "optimizer.tokens=3",
        "optimizer.max_evaluations=12",
        "dataset.texts=[A cat on a table, Two dogs with a kite, A train, The sea, Four cups of coffee]",
        f"cache_dir={tmp_path / 'cache'}",
    ]


def content(run: Path) -> tuple[bytes, dict]:
    """The records as they stand, and the results without what differs between two runs of the same."""
    results = read_json(run / "results.json")
    return (run / "records.jsonl").read_bytes(), json.dumps({k: v for k, v in results.items() if k not in TIMES})


def sweep_folder(root: Path) -> Path:
    (found,) = root.glob("*/sweep_*")
    return found


def test_captions_of_three_shards_are_those_of_one_run(
    captions: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*captions, f"output_dir={tmp_path / 'whole'}"]) == 3
    sweep = ["-m", "sweep=shards", "dataset.shards=3", f"output_root={tmp_path / 'out'}", *captions]
    assert main([*sweep, "hydra.launcher.workers=2"]) == 0
    merged = sweep_folder(tmp_path / "out") / "merged"
    assert content(merged) == content(tmp_path / "whole")
    assert f"merged: {merged}: 3 of 3 shards, 7 items in all; complete" in capsys.readouterr().err
    assert read_json(merged / "results.json")["metrics"]["CIDEr"] is not None
    assert "A dog in the park." in (merged / "report.html").read_text()
    assert (merged / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()
