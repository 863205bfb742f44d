"""The fidelity of adapters as a run, on tiny models."""

import json
from pathlib import Path

import pytest
from composed import composed as composed_command
from conftest import make_photo

from fuse_repro import schema
from fuse_repro.cli import main
from fuse_repro.runners.build import build

CONF = schema.config_folder()

CAPTIONS = (
    ["A black cat sitting on a wooden table by the river.", "The cat on a table."],
    ["Two dogs are playing with a yellow kite on the beach.", "Dogs with a kite."],
    ["A man in a white suit stands in front of a train.", "A man by the train."],
)


@pytest.fixture
def fidelity_overrides(tiny_models_folder: Path, tmp_path: Path) -> list[str]:
    rows = []
    for number, captions in enumerate(CAPTIONS):
        make_photo(tmp_path / f"{number}.png", "red")
        rows.append(json.dumps({"file": f"{number}.png", "captions": captions}))
    (tmp_path / "photos.jsonl").write_text("\n".join(rows))
    text = "The old bridge crosses a frozen lake below the mountains in the evening light . A short one ."
    (tmp_path / "text.txt").write_text(f"= A heading =\n{text}\n")
    unused = [f"~methods.{name}" for name in ("relative", "projector", "procrustes", "ridge", "random")]
    unused += [f"~runner.points.{name}" for name in ("zero", "expected", "likely")]
    return [
        "experiment=adapter_fidelity",
        "trainer=cpu",
        "model@models.lm=gpt2",
        "models.lm.source=path",
        f"models.lm.path={tiny_models_folder / 'lm'}",
        "model@models.vision=clip_vit_b32",
        "models.vision.source=path",
        f"models.vision.path={tiny_models_folder / 'vision'}",
        "model@models.other=gpt2",
        "models.other.source=path",
        f"models.other.path={tiny_models_folder / 'target'}",
        "models.other.name=tiny_llama",
        f"dataset.path={tmp_path / 'photos.jsonl'}",
        f"runner.texts={tmp_path / 'text.txt'}",
        "runner.texts_stride=1",
        "runner.split=all",
        "runner.prompts=1",
        "runner.lengths=[0,4]",
        "runner.places=[next,inside]",
        "runner.candidates=100",
        "runner.ks=[8,32]",
        "corpus.size=2000",
        *unused,
        f"cache_dir={tmp_path / 'cache'}",
    ]


def composed(*overrides: str):
    return composed_command(*overrides, "dataset.path=photos")


def records(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]


def test_a_run_its_table_its_page_and_its_continuation(fidelity_overrides: list[str], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    arguments = [*fidelity_overrides, f"output_dir={directory}"]
    assert main(arguments) == 0
    rows = records(directory)
    assert [row.get("error") for row in rows if row["status"] == "failed"] == []
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["objective"] for row in rows} == {"text", "image", "other_fluency"}
    assert {(row["place"], row["length"]) for row in rows} >= {("next", 0), ("next", 4), ("inside", 4)}
    assert {row["corpus"] for row in rows} == {"captions", "text"}
    for row in rows:
        methods = row["methods"]
        assert methods["oracle"]["spearman"] == pytest.approx(1)
        assert methods["oracle"]["regret"] == {"8": 0, "32": 0}
        assert methods["zero"]["spearman"] == 0
        assert {"lm_only", "shuffled", "random", "fuse@paper", "lookup@random", "fuse_pair@mean"} <= set(
            methods
        )
        assert ("context" in methods) == (row["objective"] != "other_fluency" or row["place"] == "next")
        assert all(set(m["recall"]) == {"8", "32"} for m in methods.values())
    results = json.loads((directory / "results.json").read_text())
    assert results["items"] == {"done": len(rows), "failed": 0}
    best = results["methods"]["oracle"]["spearman"]
    assert (best["mean"], best["count"]) == (pytest.approx(1), len(rows))
    assert set(results["by_length"]) == {"0", "4"}
    page = (directory / "report.html").read_text()
    assert "Rank correlation" in page
    assert "lookup@random" in page

    whole = (directory / "records.jsonl").read_bytes()
    kept = whole.splitlines(keepends=True)[:-3]
    assert len(kept) >= 3
    (directory / "records.jsonl").write_bytes(b"".join(kept) + b'{"torn')
    assert main(arguments) == 0
    assert (directory / "records.jsonl").read_bytes() == whole


def test_terms_of_the_primary_model_are_named_and_the_others_measured(
    fidelity_overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    small = ["objective=caption", "runner.lengths=[4]", "runner.places=[next]", "runner.texts=null"]
    one = ["runner.prompts=2", "trainer.limit_predict_batches=1"]
    one += ["+adapter@methods.trained=trained_linear", "methods.trained.steps=4"]
    assert main([*fidelity_overrides, *small, *one, f"output_dir={directory}"]) == 0
    said = "not measured: fluency (a term of models.lm, whose gradient no map carries)"
    assert capsys.readouterr().err.count(said) == 1
    assert [(row["objective"], row["status"]) for row in records(directory)] == [("image", "done")]
    results = json.loads((directory / "results.json").read_text())
    assert results["left_out"] == {"items": 1, "by": "trainer.limit_predict_batches"}
    assert results["timing"]["training"]["trained to vision"]["steps"] == 4
    assert set(results["timing"]["training"]) <= set(results["timing"]["fit_seconds"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ["objective=caption", "objective.image.weight=0"],
            "at least one term of another model than models.lm",
        ),
        (["runner.candidates=1"], "too few to tell the best 8"),
        (["runner.lengths=[-1]"], "runner.lengths"),
        (["runner.split=train"], "dev, test, all"),
        (["runner.places=[outside]"], "next, inside"),
        (["runner.baselines=[best]"], "runner.baselines"),
        (["runner.texts=nowhere.txt"], "nowhere.txt"),
        (["runner.lengths=[400]"], "captions of 400 words"),
        (["runner.combinations.default.map=linear"], "runner.combinations.default"),
        (["methods.lookup.max_gib=1e-9"], "adapter.rank=1 (low rank)"),
    ],
)
def test_what_cannot_be_measured(
    fidelity_overrides: list[str], change: list[str], message: str, tmp_path: Path, capsys
) -> None:
    assert main([*fidelity_overrides, *change, f"output_dir={tmp_path / 'run'}"]) == 1
    assert message in capsys.readouterr().err


def test_the_papers_own_choices_and_the_default() -> None:
    paper, default = composed("experiment=fuse_paper_defaults"), composed("experiment=caption")
    assert (paper.optimizer.candidates, paper.optimizer.beam) == (512, 5)
    assert (paper.optimizer.linearisation.kind, paper.optimizer.linearisation.word) == ("dummy", "!")
    assert (paper.optimizer.zeroth, paper.optimizer.calibrated) == ("none", False)
    assert (default.optimizer.stop, default.optimizer.patience) == ("sentence_end", 4)
    assert paper.adapter._target_.endswith("FuseAdapterModule.fit")
    assert paper.adapter.compat == "paper"
    assert default.adapter._target_.endswith("LookupMap.fit")
    assert (default.optimizer.zeroth, default.optimizer.calibrated) == ("context", True)
    assert default.optimizer.linearisation.kind == "random"


@pytest.mark.parametrize("points", sorted(path.stem for path in (CONF / "linearisation").glob("*.yaml")))
@pytest.mark.parametrize("optimizer", ["autodan", "autodan_paper"])
def test_every_kind_of_points_can_be_chosen(points: str, optimizer: str) -> None:
    config = composed(
        "experiment=caption", f"optimizer={optimizer}", f"linearisation@optimizer.linearisation={points}"
    )
    assert build(config.optimizer).linearisation.kind == config.optimizer.linearisation.kind
