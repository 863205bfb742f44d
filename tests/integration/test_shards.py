"""A data set in shards: what is merged from them is what one undivided run writes, byte for byte."""

import json
from pathlib import Path

import pytest
from conftest import make_photo
from drills import CONFIGS
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
    rows = [
        {"file": f"{colour}.png", "captions": CAPTIONS[place % 2 :]} for place, colour in enumerate(COLOURS)
    ]
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


def content(run: Path) -> tuple[bytes, str]:
    """The records as they stand, and the results without what differs between two runs of the same."""
    results = read_json(run / "results.json")
    return (run / "records.jsonl").read_bytes(), json.dumps(
        {k: v for k, v in results.items() if k not in TIMES}
    )


def sweep_folder(root: Path) -> Path:
    (found,) = root.glob("*/sweep_*")
    return found


def test_captions_of_three_shards_are_those_of_one_run(
    captions: list[str], quick_meteor: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*captions, f"output_dir={tmp_path / 'whole'}"]) == 3
    sweep = ["-m", "sweep=shards", "dataset.shards=3", f"output_root={tmp_path / 'out'}", *captions]
    assert main([*sweep, "hydra.launcher.workers=2"]) == 0
    merged = sweep_folder(tmp_path / "out") / "merged"
    assert content(merged) == content(tmp_path / "whole")
    said = [read_json(path).get("items", 0) for path in merged.parent.glob("*/status.json")]
    assert sum(said) == 7, "what fuse-repro status counts with: every shard its own items"
    assert f"merged: {merged}: 3 of 3 shards, 7 items in all; complete" in capsys.readouterr().err
    assert read_json(merged / "results.json")["metrics"]["CIDEr"] is not None
    assert "A dog in the park." in (merged / "report.html").read_text()
    for name in ("metrics.csv", "captions.json"):
        assert (merged / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def by_hand(overrides: list[str], shards: int, folder: Path) -> None:
    """Every shard as a run of its own; merged without the second one, and then with it."""
    order = [0, *range(2, shards), 1]
    for shard in order:
        if shard == 1:
            assert main(["merge", str(folder)]) == 3
            assert read_json(folder / "merged" / "results.json")["missing"]["shards"] == [1]
        own = [f"dataset.shards={shards}", f"dataset.shard={shard}", f"output_dir={folder / str(shard)}"]
        assert main([*overrides, *own]) == 0


def test_inverted_texts_are_merged_when_the_last_shard_is_there(inversion: list[str], tmp_path: Path) -> None:
    assert main([*inversion, f"output_dir={tmp_path / 'whole'}"]) == 0
    by_hand(inversion, 3, tmp_path / "shards")
    assert main(["merge", str(tmp_path / "shards")]) == 0
    assert content(tmp_path / "shards" / "merged") == content(tmp_path / "whole")


def test_a_transfer_is_cut_between_its_tasks(
    transfer_overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four tasks, the answers of one of which no model has as one token: its only record comes before all others."""
    (path,) = [text.removeprefix("dataset.path=") for text in transfer_overrides if "dataset.path=" in text]
    kept = [text for text in transfer_overrides if not text.startswith("dataset")]
    words = {"a": "[a,the]", "b": "[the,a]", "c": "[incomprehensibly,xylophones]", "d": "[a,the]"}
    data = ["dataset=facts_and_sst2", "~dataset.parts.facts", "~dataset.parts.sst2"]
    for name, own in words.items():
        files = "{train: train.tsv, dev: dev.tsv, test: test.tsv}"
        target = "fuse_repro.data.classification.TextClassification"
        node = f"_target_: {target}, name: {name}, path: {path}, files: {files}, words: {own}, template: '[X] is [Y] .'"
        data.append(f"+dataset.parts.{name}={{{node}}}")
    command = ["experiment=transfer", *kept, *data, "methods.relative.holdout=10", "runner.seeds=[0,1]"]
    assert main([*command, f"output_dir={tmp_path / 'whole'}"]) == 3, capsys.readouterr().err
    for shard in range(3):
        own = ["dataset.shards=3", f"dataset.shard={shard}", f"output_dir={tmp_path / 'shards' / str(shard)}"]
        main([*command, *own])
    assert main(["merge", str(tmp_path / "shards")]) == 3
    assert content(tmp_path / "shards" / "merged") == content(tmp_path / "whole")
    first = json.loads((tmp_path / "whole" / "records.jsonl").read_text().splitlines()[0])
    assert (first["id"], first["status"]) == ("c", "failed")


LENGTHS = [f"--config-dir={CONFIGS}", "experiment=lengths"]


def test_a_sweep_over_shards_and_seeds_has_a_result_for_every_seed(tmp_path: Path) -> None:
    sweep = ["-m", *LENGTHS, "sweep=shards,seeds", "seed=0,1", "dataset.shards=2", f"output_root={tmp_path}"]
    assert main([*sweep, "+dataset.limit=5", "hydra.launcher.in_process=true"]) == 0
    results = sorted((sweep_folder(tmp_path) / "merged").glob("*/results.json"))
    assert [read_json(path)["items"] for path in results] == [{"done": 10, "failed": 0}] * 2
    seeds = [read_json(path.parent / "manifest.json")["seed"] for path in results]
    assert sorted(seeds) == [0, 1]


def test_a_shard_that_is_killed_is_named_and_the_same_command_completes_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*LENGTHS, f"output_dir={tmp_path / 'whole'}"]) == 0
    command = [
        "-m",
        *LENGTHS,
        "sweep=shards",
        "dataset.shards=3",
        "runner.deadly='5'",
        f"output_root={tmp_path}",
    ]
    assert main([*command, "hydra.launcher.workers=2"]) == 1
    folder = sweep_folder(tmp_path)
    printed = capsys.readouterr().err
    assert "items are missing" in printed
    assert "incomplete" in printed
    assert len(read_json(folder / "merged" / "results.json")["missing"]["shards"]) == 1
    assert main(command) == 0
    assert content(folder / "merged") == content(tmp_path / "whole")
    assert "merged/report.html" in (folder / "report.html").read_text()
    before = (folder / "merged" / "results.json").stat().st_mtime_ns
    assert main(command) == 0
    assert (folder / "merged" / "results.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("overrides", "code", "said"),
    [
        (
            ["dataset.shards=3", "dataset.shard=3"],
            1,
            "dataset.shard=3 is not allowed: a whole number from 0 to 2",
        ),
        (["dataset.shards=0"], 1, "dataset.shards=0 is not allowed"),
        (["dataset.shards=8"], 1, "dataset.shards=8 is not allowed: at most 7, the number of items"),
        (["-m", "sweep=shards", "dataset.shards=8"], 2, "dataset.shards=8 is not allowed: at most 7"),
        (
            ["-m", "sweep=shards"],
            2,
            "dataset.shards=1 is not allowed: one whole number from 2 on with sweep=shards",
        ),
        (["-m", "dataset.shards=3", "dataset.shard=0,5"], 2, "dataset.shard=5 is not allowed"),
        (
            ["-m", "sweep=shards", "dataset.shards=2", "runner._target_=drill_runner.run"],
            2,
            "drill_runner.run has no shards",
        ),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(
    overrides: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeping = [text for text in overrides if text == "-m"]
    rest = [text for text in overrides if text != "-m"]
    assert main([*sweeping, *LENGTHS, f"output_root={tmp_path / 'out'}", *rest]) == code
    (line,) = [row for row in capsys.readouterr().err.splitlines() if row.startswith("fuse-repro: ")]
    assert said in line
    assert not list(tmp_path.rglob("records.jsonl"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["trainer.limit_predict_batches=2"],
            "trainer.limit_predict_batches=2 is not allowed: null for a shard",
        ),
        (["dataset.group=all"], "dataset.shards=2 is not allowed: at most 1, the number of items"),
        (
            ["experiment=adapter_fidelity", "models.other.accept_terms=true"],
            "fidelity.runner.run has no shards",
        ),
    ],
)
def test_what_cannot_be_shared_out_is_refused_before_a_model_is_loaded(
    more: list[str], said: str, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    nowhere = ["models.lm.source=path", f"models.lm.path={tmp_path / 'none'}"]
    first = [] if any(text.startswith("experiment=") for text in more) else ["experiment=caption", *nowhere]
    own = [f"dataset.path={photographs}", "dataset.shards=2", f"output_dir={tmp_path / 'run'}"]
    assert main([*first, *more, *own]) == 1
    assert said in capsys.readouterr().err


def test_a_dry_run_counts_the_items_of_the_shard(
    photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["experiment=caption", f"dataset.path={photographs}", "dry_run=true"]
    assert main([*command, "dataset.shards=7"]) == 0
    assert "photographs: 7, counted, in 7 shards" in capsys.readouterr().out
