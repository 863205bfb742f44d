"""Every experiment of the papers, in small: their architectures with random weights, their data sets' layouts."""

import json
from pathlib import Path

import pytest
from recipe_data import coco, lama, nocaps, senticap, sst2
from recipe_models import save_recipe_models

from fuse_repro.cli import main
from fuse_repro.data.paper_values import CELLS
from fuse_repro.schema import config_folder

RECIPES = sorted(
    path.relative_to(config_folder() / "experiment").with_suffix("").as_posix()
    for paper in ("fuse", "transfer")
    for path in (config_folder() / "experiment" / paper).glob("*.yaml")
)
CAPTIONS = [
    "corpus=wordfreq",
    "corpus.size=2000",
    "optimizer.candidates=8",
    "optimizer.beam=2",
    "optimizer.max_new_tokens=2",
    "runner.metrics=false",
]
TRANSFER = ["optimizer.max_steps=2", "optimizer.evaluate_every=1"]
RELATIVE = ["methods.relative_paper.k=20", "methods.relative_paper.steps=4"]
TRACED = ["methods.relative_paper.check_every=2", *RELATIVE]
NOT_RESCALED = ["methods.not_rescaled.k=20", "methods.not_rescaled.steps=4"]
PROJECTOR = ["methods.projector.holdout=10", "methods.projector.epochs=1"]
ANCHORS = [
    f"methods.anchors_{name}.{change}"
    for name, k in (("512", 5), ("1024", 10), ("2048", 15), ("4096", 20), ("all", "null"))
    for change in (f"k={k}", "steps=4")
]

# recipe -> its data, what makes it small, the paper's cell, the names of what it gives (methods, or terms)
SMALL = {
    "fuse/table1_coco": (coco, [*CAPTIONS, "runner.clip_score=vision"], "fuse/coco", {"fluency", "image"}),
    "fuse/table1_nocaps": (nocaps, CAPTIONS, "fuse/nocaps", {"fluency", "image"}),
    "fuse/table2_senticap": (senticap, CAPTIONS, "fuse/senticap", {"fluency", "image", "sentiment"}),
    "fuse/figure3": (coco, CAPTIONS, None, {"fluency", "image", "sentiment"}),
    "transfer/lama": (
        lama,
        [*TRANSFER, *RELATIVE],
        "transfer/bert_base/roberta_base",
        {"relative_paper"},
    ),
    "transfer/table1": (lama, TRANSFER, "transfer/bert_base/roberta_base", {"direct"}),
    "transfer/table2": (
        lama,
        TRANSFER,
        "transfer/bert_base/bert_base",
        {"random", "manual", "direct_tuning"},
    ),
    "transfer/table3": (
        lama,
        [*TRANSFER, *RELATIVE, *PROJECTOR, "runner.target=albert_base"],
        "transfer/bert_base/albert_base",
        {"relative_paper", "projector", "discretise"},
    ),
    "transfer/table3_dual": (
        lama,
        [*TRANSFER, *RELATIVE],
        "transfer/bert_base+roberta_base/roberta_base",
        {"relative_paper"},
    ),
    "transfer/table5": (
        lama,
        [*TRANSFER, *RELATIVE],
        "transfer/roberta_base/gpt2_small",
        {"relative_paper", "manual", "direct_tuning"},
    ),
    "transfer/table6": (
        sst2,
        [*TRANSFER, *RELATIVE, "dataset.words=[a,the]"],
        "transfer/sst2/bert_base/roberta_large",
        {"relative_paper", "manual", "direct_tuning"},
    ),
    "transfer/figure2": (lama, [*TRANSFER, *TRACED], None, {"relative_paper"}),
    "transfer/figure3": (
        lama,
        [*TRANSFER, *RELATIVE, *NOT_RESCALED],
        None,
        {"relative_paper", "not_rescaled"},
    ),
    "transfer/figure4": (
        lama,
        [*TRANSFER, *ANCHORS],
        None,
        {"anchors_512", "anchors_1024", "anchors_2048", "anchors_4096", "anchors_all"},
    ),
}


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_recipe_models(tmp_path_factory.mktemp("recipe_models"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_end_to_end_on_tiny_models(recipe: str, models_dir: Path, tmp_path: Path) -> None:
    data, small, cell, names = SMALL[recipe]
    overrides = [
        f"experiment={recipe}",
        f"models_dir={models_dir}",
        f"dataset.path={data(tmp_path / 'data')}",
        "trainer=cpu",
        "logger=none",
        f"cache_dir={tmp_path / 'cache'}",
        f"output_dir={tmp_path / 'run'}",
        *small,
    ]
    assert main(overrides) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["config"]["paper_cell"] == cell
    assert manifest["weights"]
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert all(record["status"] == "done" for record in records)
    found: set[str] = set()
    for record in records:
        found |= {record["method"]} if "method" in record else set(record["terms"])
    assert found == names
    if recipe == "fuse/table1_coco":
        results = json.loads((tmp_path / "run" / "results.json").read_text())
        assert results["CLIPScore_by"] == "clip_vit_b32"
        assert 0 <= results["CLIPScore"] <= 2.5
        assert "SPICE_note" in results or results["metrics"]["SPICE"] >= 0
    if cell is not None and cell.startswith("transfer"):
        assert names <= set(CELLS[cell].values)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_says_what_it_costs(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main([f"experiment={recipe}", "dry_run=true"]) == 0
    said = capsys.readouterr().out
    assert "as published" in said
    assert "is not set: it is had from https://" in said.replace("http://", "https://")
    assert "unknown" not in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    if recipe == "fuse/table1_coco":
        assert f"{5000 * 16 * 5 * 512:,}" in said


def test_a_table_counts_its_points_and_shared_prompts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table 1 tunes one prompt per source and relation; asking for two seeds doubles that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert (
        main(
            [
                "-m",
                "experiment=transfer/table1",
                "dry_run=true",
                "optimizer.m=1,5",
                "runner.sources=[bert_base]",
            ]
        )
        == 0
    )
    both = capsys.readouterr().out
    assert "points: 2" in both
    assert f"{2 * 2 * 41 * 500 * 16:,}" in both  # lengths, forth and back, relations, steps, items
    assert (
        main(["-m", "experiment=transfer/table1", "dry_run=true", "runner.sources=[bert_base]", "seed=0,0"])
        == 0
    )
    assert f"{2 * 41 * 500 * 16:,}" in capsys.readouterr().out
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_mistakes_are_found_without_weights_or_data(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["experiment=fuse/table1_coco", "dry_run=true", "optimizer.candidates=0"]) == 1
    assert "optimizer.candidates=0 is not allowed" in capsys.readouterr().err
    assert main(["experiment=fuse/table1_coco", "dry_run=true", "+dataset.sentiment=positive"]) == 1
    assert "keys=['sentiment'] is not allowed: of limit, path, split" in capsys.readouterr().err
    assert main(["experiment=fuse/table1_coco", "dry_run=true", "dry_run_tflops=0"]) == 1
    assert "dry_run_tflops=0" in capsys.readouterr().err
    assert main(["experiment=transfer/lama", "dataset.path=nowhere", f"models_dir={models_dir}"]) == 1
    assert "LAMA-TREx: dataset.path='nowhere' is no folder" in capsys.readouterr().err


def test_a_folder_without_a_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["experiment=transfer/lama", f"dataset.path={lama(tmp_path / 'data')}", "logger=none"]
    more = [f"models_dir={tmp_path}", "trainer=cpu", f"output_dir={tmp_path / 'run'}"]
    assert main([*overrides, *more]) == 1
    assert "bert_base" in capsys.readouterr().err


def test_help_lists_the_recipes_and_errors_name_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {recipe} " in said for recipe in RECIPES)
    assert "\n  experiment/" not in said
    assert main(["experiment=transfer/tabel3"]) == 2
    assert "experiment=transfer/tabel3 is unknown" in (error := capsys.readouterr().err)
    assert "did you mean transfer/table3" in error
