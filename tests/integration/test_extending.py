"""docs/extending.md does what it says: its files are made from its code blocks, and its commands are run."""

import csv
import importlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_model, tiny_bert_encoder, tiny_clip, tiny_gpt2, tiny_llama, tiny_opt

from fuse_repro.cli import main
from fuse_repro.runs.directory import read_json, read_records

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
SEARCH = ["optimizer.candidates=8", "optimizer.beam=2", "optimizer.max_new_tokens=2"]
TASK = [
    "dataset=sst2",
    "dataset.path=task",
    "dataset.files={train: train.tsv, dev: dev.tsv, test: test.tsv}",
    "dataset.words=[a,the]",
    "optimizer.max_steps=2",
    "methods.relative.holdout=10",
]

CSV_ROWS = [("red.png", "A white ball."), ("red.png", "A red sheet.")]


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_model(tiny_llama(), folder / "smollm2_135m")
    save_model(tiny_opt(), folder / "opt_125m")
    save_model(tiny_clip(), folder / "clip_vit_b32")
    return folder


@pytest.fixture
def reader(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of someone who has copied the page's files, and has photographs and a task of their own."""
    for kind, text in BLOCKS:
        if kind in ("python", "yaml"):
            path = tmp_path / text.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            monkeypatch.delitem(sys.modules, path.stem, raising=False)
    with (photos / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *CSV_ROWS])
    for split in ("train", "dev", "test"):
        rows = [f"{split} {number}\t{number % 2}" for number in range(4)]
        (tmp_path / "task").mkdir(exist_ok=True)
        (tmp_path / "task" / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_page_has_a_file_and_a_command_for_each_kind() -> None:
    kinds = [text.splitlines()[0] for kind, text in BLOCKS if kind == "yaml"]
    assert [line.split("/")[1] for line in kinds] == ["model", "adapter", "optimizer", "objective", "dataset"]
    assert sum(kind == "python" for kind, _ in BLOCKS) == 4  # a model of a known kind needs none
    for option in (
        "models.lm=opt_125m",
        "adapter=matching_mean",
        "optimizer=first_better",
        "objective=caption_without_repeats",
        "+objective.length=",
        "+optimizer.objective.near=",
        "dataset=csv_photos",
    ):
        assert any(option in command for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_run(command: str, reader: Path, models_dir: Path) -> None:
    program, *arguments = shlex.split(command)
    assert program == "fuse-repro"
    small = [f"models_dir={models_dir}", "trainer=cpu", "corpus.size=2000", "logger=none"]
    small += [f"cache_dir={reader / 'cache'}", "output_dir=run"]
    if "experiment=caption" in arguments:
        small += ["model@models.vision=clip_vit_b32", "runner.metrics=false"]
        small += ["optimizer.max_evaluations=20"] if "optimizer=first_better" in arguments else SEARCH
    else:
        small += TASK
    assert main([*arguments, *small]) == 0
    records = read_records(reader / "run")
    assert {record["status"] for record in records} == {"done"}
    chosen = read_json(reader / "run" / "manifest.json")["config"]
    if "optimizer=first_better" in arguments:
        assert max(record["evaluations"] for record in records) == 20
    if "dataset=csv_photos" in arguments:
        assert [record["references"] for record in records] == [["A white ball.", "A red sheet."]]
    if "objective=caption_without_repeats" in arguments:
        for record in records:
            words = record["text"].lower().split()
            assert record["terms"]["repeats"]["raw"] == pytest.approx(1 - len(set(words)) / len(words))
            assert record["terms"]["repeats"]["weighted"] == pytest.approx(
                3 * record["terms"]["repeats"]["raw"]
            )
    if "model@models.lm=opt_125m" in arguments:
        assert chosen["models"]["lm"]["path"].endswith("opt_125m")
    if "+adapter@methods.mine=matching_mean" in arguments:
        assert any(record["method"] == "mine" for record in records)


def test_its_map_keeps_to_the_device_of_each_model(reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchors hold token ids on the CPU; a model on an accelerator looks up ids that are there too."""
    looked_up = []
    for model in (models := [tiny_gpt2().to("meta"), tiny_bert_encoder().to("meta")]):
        embed = model.embed
        monkeypatch.setattr(model, "embed", lambda ids, embed=embed: looked_up.append(ids) or embed(ids))
    fitted = importlib.import_module("my_maps").MatchingMean.fit(*models, ())
    assert [ids.device.type for ids in looked_up] == ["meta", "meta"]
    assert fitted.weight.device.type == "meta"


def test_a_photograph_of_several_rows_is_one_item_with_all_its_references(tmp_path: Path) -> None:
    """One item a row gave two of one id, of which the metrics then knew the last reference only."""
    text = next(text for kind, text in BLOCKS if text.startswith("# my_data.py"))
    own: dict[str, Any] = {}
    exec(text, own)
    rows = [("b.png", "One."), ("a.png", "Two."), ("b.png", "Three."), ("b.png", "Four, five.")]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *rows])
    items = own["CsvPhotos"](tmp_path / "list.csv").items
    assert [(item.id, item.path, item.references) for item in items] == [
        ("b.png", tmp_path / "b.png", ("One.", "Three.", "Four, five.")),
        ("a.png", tmp_path / "a.png", ("Two.",)),
    ]
    assert [item.id for item in own["CsvPhotos"](tmp_path / "list.csv", limit=1).items] == ["b.png"]


def test_its_mistakes_are_one_line(
    reader: Path, models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--config-dir", "my_conf", "experiment=caption", "dataset.path=photos", f"models_dir={models_dir}"]
    own += ["model@models.vision=clip_vit_b32"]
    assert main([*own, "adapter=matching_mean", "adapter.scale=0", "output_dir=run"]) == 1
    assert "adapter.scale=0 is not allowed: above 0" in capsys.readouterr().err
    assert main([*own, "adapter=matching_mean", "+adapter.scales=1", "output_dir=run"]) == 1
    assert "my_maps.MatchingMean.fit cannot fit a map with these values" in capsys.readouterr().err
    assert main([*own, "dataset=csv_photos", "output_dir=other"]) == 1
    assert "dataset.path='photos' is not allowed: a .csv file that exists" in capsys.readouterr().err
