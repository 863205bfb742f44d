"""Captions with sentiment from the command line, on tiny models."""

import json
from pathlib import Path

import pytest
from tiny_classifiers import tiny_roberta_classifier
from tiny_models import save_model

from fuse_repro.cli import main


@pytest.fixture
def sentiment_overrides(tiny_overrides: list[str], photos: Path, tmp_path: Path) -> list[str]:
    folder = save_model(tiny_roberta_classifier(), tmp_path / "sentiment")
    return [
        "experiment=caption_sentiment",
        *tiny_overrides[1:],
        "model@models.sentiment=twitter_roberta",
        "models.sentiment.source=path",
        f"models.sentiment.path={folder}",
        f"dataset.path={photos}",
        "dataset.limit=2",
        "objective.sentiment.weight=50",
        "optimizer.candidates=16",
    ]


def test_every_photograph_without_and_with_each_sentiment(
    sentiment_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.png").write_text("no image")
    directory = tmp_path / "run"
    more = ["runner.clip_score=vision", "runner.spice=true"]
    assert main([*sentiment_overrides, *more, f"output_dir={directory}"]) == 3
    lines = (directory / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["id"] for record in records] == [
        f"{image}/{sentiment}"
        for image in ("blue", "broken")
        for sentiment in ("none", "positive", "negative")
    ]
    none, positive, negative = records[:3]
    assert {record["status"] for record in records[3:]} == {"failed"}
    assert [record["sentiment"] for record in records[:3]] == ["none", "positive", "negative"]
    assert set(none["terms"]) == {"fluency", "image"}
    assert set(positive["terms"]) == {"fluency", "image", "sentiment"}
    assert len({none["text"], positive["text"], negative["text"]}) > 1
    results = json.loads((directory / "results.json").read_text())
    assert results["items"] == {"done": 3, "failed": 3}
    assert results["sentiments"]["positive"]["judged"]["judge"] == "VADER"
    assert results["sentiments"]["none"]["judged"] is None
    assert 0 <= results["sentiments"]["none"]["CLIPScore"] <= 2.5
    assert results["sentiments"]["none"]["SPICE_note"] == "no SPICE: no item has a reference caption"
    assert main([*sentiment_overrides, *more, f"output_dir={directory}", "resume=skip_done"]) == 3
    assert (directory / "records.jsonl").read_text().splitlines() == lines


def test_photographs_side_by_side_leave_the_records_of_one_by_one(
    sentiment_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    """In the order of the data set, though every sentiment is searched for in all photographs before the next."""
    (photos / "broken.png").write_text("no image")
    shared, found = [*sentiment_overrides, "dataset.limit=3"], []
    for together in (1, 2):
        directory = tmp_path / f"by {together}"
        assert main([*shared, f"optimizer.together={together}", f"output_dir={directory}"]) == 3
        lines = (directory / "records.jsonl").read_text().splitlines()
        found.append([json.loads(line) for line in lines])
    ids = [
        f"{image}/{label}"
        for image in ("blue", "broken", "green")
        for label in ("none", "positive", "negative")
    ]
    for alone, beside, name in zip(*found, ids, strict=True):
        assert alone["id"] == beside["id"] == name
        assert alone.get("sentiment") == beside.get("sentiment")
        assert alone.get("text") == beside.get("text")
        assert alone.get("error") == beside.get("error")
        assert alone.get("cost") == beside.get("cost")


def test_two_shards_come_to_what_one_run_finds(
    sentiment_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.png").write_text("no image")
    shared = [*sentiment_overrides, "dataset.limit=4", "runner.clip_score=vision"]
    assert main([*shared, f"output_dir={tmp_path / 'whole'}"]) == 3
    for shard in (1, 0):
        own = ["dataset.shards=2", f"dataset.shard={shard}", f"output_dir={tmp_path / 'shards' / str(shard)}"]
        assert main([*shared, *own]) in (0, 3)
    assert main(["merge", str(tmp_path / "shards")]) == 3
    whole, merged = tmp_path / "whole", tmp_path / "shards" / "merged"
    assert (merged / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    results = [json.loads((run / "results.json").read_text()) for run in (merged, whole)]
    for found in results:
        assert found.pop("timing")
    assert json.dumps(results[0]) == json.dumps(results[1])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("runner.sentiments=[happy]", "runner.sentiments='happy' is not allowed: of none, negative"),
        ("runner.sentiments=[none,none]", "at least one, each once"),
        ("runner.clip_score=sentiment", "role of an image-text model"),
        ("objective=caption", "objective=caption_sentiment"),
        ("objective.sentiment.weight=0", "a weight above 0"),
        ("objective.sentiment.model=vision", "a classifier, such as sentiment_minilm"),
        ("models.sentiment.labels=[bad,good]", "3 names, one for each output"),
    ],
)
def test_mistakes_are_one_line(
    sentiment_overrides: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    override: str,
    said: str,
) -> None:
    overrides = [o for o in sentiment_overrides if override != "objective=caption" or "objective." not in o]
    assert main([*overrides, f"output_dir={tmp_path / 'run'}", override]) in (1, 2)
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed
