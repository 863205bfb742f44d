"""Prompt inversion, universal prompts and every optimiser, from the command line on tiny models."""

import json
from pathlib import Path

import pytest
from conftest import make_photo
from tiny_models import save_model, tiny_bert_encoder

from fuse_repro.cli import main

OPTIMIZERS = {
    "autodan": ["optimizer.candidates=8", "optimizer.beam=2", "optimizer.max_new_tokens=3"],
    "autodan_refined": ["optimizer.candidates=4", "optimizer.beam=2", "optimizer.max_new_tokens=3"],
    "gcg": ["optimizer.candidates=6", "optimizer.tokens=3"],
    "gaslite": ["optimizer.candidates=6", "optimizer.tokens=3", "optimizer.flips=2", "optimizer.averaged=2"],
    "autoprompt": ["optimizer.candidates=6", "optimizer.tokens=3"],
    "pez": [
        "optimizer.tokens=3",
        "optimizer.steps=100",
    ],  # it soon meets prompts again, which cost no evaluation
    "random_l0": ["optimizer.tokens=3"],
    "random_l2": ["optimizer.tokens=3"],
}


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tiny_bert_encoder(), tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture
def overrides(tiny_models_folder: Path, encoder_folder: Path, tmp_path: Path) -> list[str]:
    return [
        "experiment=invert",
        "trainer=cpu",
        "model@models.lm=gpt2",
        "models.lm.source=path",
        f"models.lm.path={tiny_models_folder / 'lm'}",
        "models.encoder.source=path",
        f"models.encoder.path={encoder_folder}",
        "corpus.size=2000",
        "dataset.texts=[A cat on a table, Two dogs with a kite]",
        f"cache_dir={tmp_path / 'cache'}",
    ]


def run(overrides: list[str], folder: Path) -> tuple[list[dict], dict]:
    assert main([*overrides, f"output_dir={folder}"]) == 0
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    return records, json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_inverts_texts_within_its_budget(
    overrides: list[str], tmp_path: Path, optimizer: str
) -> None:
    extra = [f"optimizer={optimizer}", "optimizer.max_evaluations=24", *OPTIMIZERS[optimizer]]
    records, results = run([*overrides, *extra], tmp_path / "run")
    assert [record["targets"] for record in records] == [["A cat on a table"], ["Two dogs with a kite"]]
    for record in records:
        assert record["status"] == "done"
        assert record["text"].startswith("The")
        assert 0 < record["evaluations"] <= 24
        assert (record["gradients"] > 0) == (not optimizer.startswith("random"))
    assert results["items"] == {"done": 2, "failed": 0}
    assert 0 <= results["metrics"]["word_F1"] <= 100
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Two dogs with a kite" in page
    assert "Against the texts to be found" in page
    again, _ = run([*overrides, *extra], tmp_path / "again")
    assert again == records


def test_a_prompt_may_begin_with_nothing(overrides: list[str], tmp_path: Path) -> None:
    records, _ = run([*overrides, *OPTIMIZERS["autodan"], "runner.prefix=''"], tmp_path / "run")
    assert [record["status"] for record in records] == ["done", "done"]
    assert all(record["text"] and record["prefix"] == "" for record in records)


def test_one_prompt_for_all_texts(overrides: list[str], tmp_path: Path) -> None:
    extra = ["dataset.group=all", "optimizer=random_l0", "optimizer.tokens=3", "optimizer.max_evaluations=9"]
    (record,), results = run([*overrides, *extra], tmp_path / "run")
    assert record["targets"] == ["A cat on a table", "Two dogs with a kite"]
    assert results["items"]["done"] == 1


def test_one_caption_for_all_photographs(tiny_overrides: list[str], photos: Path, tmp_path: Path) -> None:
    shared = [*tiny_overrides, f"dataset.path={photos}", "optimizer.stop=never"]
    (record,), _ = run([*shared, "dataset.group=all"], tmp_path / "all")
    assert [Path(path).name for path in record["images"]] == ["blue.png", "green.png", "red.png"]
    assert (tmp_path / "all" / "report.html").read_text().count("data:image/jpeg") == 3
    make_photo(photos / "red.png", "blue")
    make_photo(photos / "green.png", "blue")
    (same,), _ = run([*shared, "dataset.group=all"], tmp_path / "same")
    (one,), _ = run([*shared, "dataset.limit=1"], tmp_path / "one")
    assert same["text"] == one["text"]
    assert same["objective"] == pytest.approx(one["objective"], abs=1e-4)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["dataset.group=some"], "dataset.group='some' is not allowed"),
        (["objective.text.weight=0"], "objective=['fluency', 'text'] is not allowed"),
        (["optimizer=gcg", "optimizer.tokens=0"], "optimizer.tokens=0 is not allowed"),
        (["optimizer.frontier=depth"], "optimizer.frontier='depth' is not allowed"),
        (["optimizer=gcg", "optimizer.start=nowhere"], "optimizer.start='nowhere' is not allowed"),
    ],
)
def test_mistakes_are_one_clear_line(
    overrides: list[str], tmp_path: Path, extra: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*overrides, *extra, f"output_dir={tmp_path / 'run'}"]) == 1
    (line,) = [row for row in capsys.readouterr().err.splitlines() if row.startswith("fuse-repro:")]
    assert message in line
