"""Prompt transfer as a run, on tiny models."""

import json
from pathlib import Path

import pytest
import pytorch_lightning

from fuse_repro.cli import main

# The tiny models share few tokens.
TABLE = [
    "methods.relative.holdout=10",
    "methods.relative_paper.k=20",
    "methods.relative_paper.steps=20",
    "methods.projector.holdout=10",
    "methods.projector.epochs=1",
]


def records(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]


def test_every_method_fills_its_column(transfer_overrides: list[str], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    arguments = ["experiment=transfer_table", *transfer_overrides, *TABLE, "runner.seeds=[0,1]"]
    assert main([*arguments, f"output_dir={directory}"]) == 0
    rows = records(directory)
    methods = {row["method"] for row in rows}
    assert methods == {
        "random", "manual", "source_tuned", "direct_tuning", "relative", "relative_paper",
        "fuse", "ridge", "procrustes", "projector", "discretise", "random_map",
    }  # fmt: skip
    assert len({row["id"] for row in rows}) == len(rows) == 2 * len(methods)
    assert [row.get("error") for row in rows if row["status"] == "failed"] == []
    results = json.loads((directory / "results.json").read_text())
    for name, summary in results["methods"].items():
        mean = sum(row["accuracy"] for row in rows if row["method"] == name) / 2
        assert summary["mean_over_relations"] == pytest.approx(mean)
        assert summary["low"] <= mean <= summary["high"]
    page = (directory / "report.html").read_text()
    assert "direct_tuning" in page
    assert "Precision@1" in page


def test_auto_says_what_it_chose_and_what_the_others_would_have_given(
    transfer_overrides: list[str], tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    extra = [
        "+adapter@methods.auto=auto",
        "+adapter@methods.by_words=auto",
        "methods.by_words.criterion=words",
        *(f"+adapter@methods.{name}={name}" for name in ("ridge", "sparse", "local")),
        "methods.relative.holdout=5",
    ]
    assert main(["experiment=transfer", *transfer_overrides, *extra, f"output_dir={directory}"]) == 0
    rows = {row["method"]: row for row in records(directory)}
    for name, criterion, measures in (
        ("auto", "round_trip", {"accuracy", "loss"}),
        ("by_words", "words", {"cosine", "recall"}),
    ):
        choice = rows[name]["choice"]
        assert choice["criterion"] == criterion
        assert set(choice["candidates"]) == {"relative", "ridge", "sparse", "local"}
        assert all(set(values) == measures for values in choice["candidates"].values())
        assert next(iter(choice["candidates"])) == choice["chosen"]
        chosen = rows[choice["chosen"]]
        assert (rows[name]["accuracy"], rows[name]["loss"]) == (chosen["accuracy"], chosen["loss"])
    assert "choice" not in rows["ridge"]


def test_figure_2_follows_dev_along_the_search(transfer_overrides: list[str], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    arguments = ["experiment=transfer_figure2", *transfer_overrides, *TABLE[:3], "~dataset.relations"]
    arguments += ["methods.relative_paper.check_every=5", "runner.split=dev", f"output_dir={directory}"]
    assert main(arguments) == 0
    traced = [row for row in records(directory) if row["method"] == "relative_paper"]
    assert traced
    for row in traced:
        steps = [step for step, _, _ in row["matching"]["scores"]]
        assert steps == [0, 5, 10, 15, 20]
        assert row["matching"]["scores"][-1][2] == row["accuracy"]  # the last step is the prompt, both on dev
    page = (directory / "report.html").read_text()
    assert "precision@1 on dev, percent, along the search" in page
    assert "Precision@1 on the dev split" in page


def test_figure_3_has_every_place_of_equation_6(transfer_overrides: list[str], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    arguments = [
        "experiment=transfer_figure3",
        *transfer_overrides,
        "~dataset.relations",
        "methods.paper_in_loop.steps=5",
    ]
    arguments += [f"methods.{name}.k=20" for name in ("paper_off", "paper_after", "paper_in_loop")]
    arguments += [f"methods.{name}.holdout=10" for name in ("relative", "relative_after")]
    assert main([*arguments, f"output_dir={directory}"]) == 0
    done = {row["method"] for row in records(directory) if row["status"] == "done"}
    assert {"paper_off", "paper_after", "paper_in_loop", "relative", "relative_after"} <= done


def test_a_moved_prompt_learns_from_the_source_without_labels(
    transfer_overrides: list[str], tmp_path: Path
) -> None:
    arguments = [
        "experiment=transfer",
        *[one for one in transfer_overrides if not one.startswith("optimizer.m=")],
        "optimizer=optiprompt_template",
        "optimizer.max_steps=4",
        "methods.relative.holdout=10",
        "+runner.taught.relative_taught=relative",
        "runner.teaching_steps=4",
    ]
    first, second = tmp_path / "first", tmp_path / "second"
    assert main([*arguments, f"output_dir={first}"]) == 0
    found = {row["method"]: row for row in records(first)}
    taught = found["relative_taught"]
    assert taught["model"] == found["relative"]["model"] != found["source_tuned"]["model"]
    assert 0 <= taught["agreement"] <= 1
    assert taught["teaching_steps"] >= 4
    assert "agreement" not in found["relative"]
    assert main([*arguments, f"output_dir={second}"]) == 0
    assert [{**row, "cost": 0} for row in records(second)] == [{**row, "cost": 0} for row in records(first)]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("+runner.taught.other=nothing", "one of methods: relative"),
        ("+runner.taught.random=relative", "another name"),
        ("runner.teaching_steps=0", "runner.teaching_steps=0"),
    ],
)
def test_a_mistake_in_what_is_taught_is_one_line(
    transfer_overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, line: str
) -> None:
    assert main(["experiment=transfer", *transfer_overrides, change, f"output_dir={tmp_path / 'run'}"]) == 1
    assert line in capsys.readouterr().err


def test_the_same_run_twice_goes_on_and_changes_nothing(
    transfer_overrides: list[str], tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    arguments = [
        "experiment=transfer",
        *transfer_overrides,
        "methods.relative.holdout=10",
        f"output_dir={directory}",
    ]
    assert main(arguments) == 0
    before = (directory / "records.jsonl").read_bytes()
    assert main(arguments) == 0
    assert (directory / "records.jsonl").read_bytes() == before
    kept = before.splitlines(keepends=True)
    (directory / "records.jsonl").write_bytes(b"".join(kept[:2]))
    assert main(arguments) == 0
    assert (directory / "records.jsonl").read_bytes() == before


def test_a_method_that_cannot_be_used_fails_in_its_cells_alone(
    transfer_overrides: list[str], tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    extra = ["methods.relative.holdout=10", "+adapter@methods.direct=direct", f"output_dir={directory}"]
    assert main(["experiment=transfer", *transfer_overrides, *extra]) == 3
    rows = {row["method"]: row for row in records(directory)}
    assert rows["direct"]["status"] == "failed"
    assert "32" in rows["direct"]["error"]
    assert "48" in rows["direct"]["error"]
    assert rows["relative"]["status"] == "done"


def test_two_sources(transfer_overrides: list[str], tiny_models_folder: Path, tmp_path: Path) -> None:
    second = [
        "+model@models.second=gpt2",
        "models.second.source=path",
        f"models.second.path={tiny_models_folder / 'target'}",
        "runner.sources=[source,second]",
        "methods.relative.holdout=10",
        "+adapter@methods.ridge=ridge",
    ]
    directory = tmp_path / "run"
    assert main(["experiment=transfer", *transfer_overrides, *second, f"output_dir={directory}"]) == 3
    rows = {row["method"]: row for row in records(directory)}
    assert rows["relative"]["status"] == "done"
    assert "one source only" in rows["ridge"]["error"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("runner.baselines=[oracle]", "any of random, manual"),
        ("runner.seeds=[]", "at least one seed"),
        ("runner.split=valid", "one of train, dev, test"),
        ("runner.sources=[teacher]", "roles in models"),
        ("dataset.words=[a,surfboards]", "with an answer of several tokens"),
        ("methods.relative.k=0", "methods.relative.k=0 is not allowed"),
        ("dataset.path=nowhere", "nowhere"),
        ("optimizer.m=0", "m"),
    ],
)
def test_settings_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str],
    transfer_overrides: list[str],
    tmp_path: Path,
    override: str,
    said: str,
) -> None:
    arguments = ["experiment=transfer", *transfer_overrides, "methods.relative.holdout=10", override]
    code = main([*arguments, f"output_dir={tmp_path / 'run'}"])
    printed = capsys.readouterr().err
    if code == 0:
        page = (tmp_path / "run" / "report.html").read_text()
        assert said in page
    else:
        assert said in printed
        assert printed.count("\n") == 1


def test_terms_have_to_be_accepted(
    capsys: pytest.CaptureFixture[str], transfer_overrides: list[str], tmp_path: Path
) -> None:
    own = [override for override in transfer_overrides if "models.target" not in override]
    assert main(["experiment=transfer", *own, f"output_dir={tmp_path / 'run'}"]) == 1
    assert "accept_terms=true" in capsys.readouterr().err


SEEN: dict[str, float] = {}


class Watcher(pytorch_lightning.Callback):
    """A callback of a user's: keeps the metrics that Lightning shows it."""

    def on_test_end(
        self, trainer: pytorch_lightning.Trainer, module: pytorch_lightning.LightningModule
    ) -> None:
        SEEN.update({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_lightning_sees_the_precision_and_the_configs_callbacks_run(
    transfer_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    SEEN.clear()
    directory = tmp_path / "run"
    arguments = [
        "experiment=transfer",
        *transfer_overrides,
        "methods.relative.holdout=10",
        "runner.seeds=[0,1]",
    ]
    arguments += [f"trainer.callbacks=[{{_target_: {__name__}.Watcher}}]", f"output_dir={directory}"]
    assert main(arguments) == 0
    methods = json.loads((directory / "results.json").read_text())["methods"]
    for name, summary in methods.items():
        assert SEEN[f"precision@1/{name}/mean_over_relations"] == pytest.approx(
            summary["mean_over_relations"]
        )
        assert SEEN[f"precision@1/{name}/sst2"] == pytest.approx(summary["tasks"]["sst2"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainer.devices=2"], "trainer.devices=2 is not allowed: a run works in one process on one device"),
        (["+trainer.max_epochs=3"], "trainer.max_epochs=3 is not allowed"),
        (["trainer.limit_predict_batches=1"], "trainer.limit_predict_batches=1 is not allowed: it acts in"),
        (
            ["optimizer.together=0"],
            "optimizer.together=0 is not allowed: a whole number of at least 1, or null",
        ),
        (["optimizer.together=-2"], "optimizer.together=-2 is not allowed: a whole number of at least 1"),
        (["optimizer.together=many"], "optimizer.together='many' is not allowed: a whole number or null"),
        (
            ["optimizer.together=4", "+trainer.gradient_clip_val=1.0"],
            "optimizer.together=4 is not allowed: 1 or null with trainer.gradient_clip_val=1.0, which acts on one",
        ),
    ],
)
def test_what_the_trainer_cannot_do_is_one_line(
    capsys: pytest.CaptureFixture[str],
    transfer_overrides: list[str],
    tmp_path: Path,
    overrides: list[str],
    said: str,
) -> None:
    arguments = ["experiment=transfer", *transfer_overrides, "methods.relative.holdout=10", *overrides]
    assert main([*arguments, f"output_dir={tmp_path / 'run'}"]) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_prompts_tuned_together_fill_the_same_table(transfer_overrides: list[str], tmp_path: Path) -> None:
    changes = ["methods.relative.holdout=10", "runner.seeds=[0,1,2]", "runner.baselines=[source_tuned]"]
    found = []
    for together in (1, 3):
        directory, cache = tmp_path / f"run{together}", tmp_path / f"cache{together}"
        own = [f"optimizer.together={together}", f"cache_dir={cache}", f"output_dir={directory}"]
        assert main(["experiment=transfer", *transfer_overrides, *changes, *own]) == 0
        found.append({row["id"]: row for row in records(directory)})
        assert len(list((cache / "prompts").glob("[!.]*"))) == 3
    for key, row in found[0].items():
        assert found[1][key]["accuracy"] == row["accuracy"]
        assert found[1][key]["loss"] == pytest.approx(row["loss"], rel=1e-3)


def test_a_further_term_is_one_line_and_the_closed_form_refuses_it(
    capsys: pytest.CaptureFixture[str], transfer_overrides: list[str], tmp_path: Path
) -> None:
    length = (
        "+objective.length={_target_: fuse_repro.objectives.VectorLengthTerm, weight: 0.5, model: target}"
    )
    arguments = ["experiment=transfer", *transfer_overrides, "methods.relative.holdout=10", length]
    assert main([*arguments, f"output_dir={tmp_path / 'refused'}"]) == 1
    printed = capsys.readouterr().err
    assert "methods.relative.solver=closed_form cannot minimise the objective's length" in printed
    assert printed.count("\n") == 1
    adam = ["methods.relative.solver=adam", "methods.relative.steps=20"]
    assert main([*arguments, *adam, f"output_dir={tmp_path / 'run'}"]) == 0
    (moved,) = (row for row in records(tmp_path / "run") if row["method"] == "relative")
    assert moved["status"] == "done"


def test_the_sources_are_weighed_by_the_objective(
    transfer_overrides: list[str], tiny_models_folder: Path, tmp_path: Path
) -> None:
    second = [
        "+model@models.second=gpt2",
        "models.second.source=path",
        f"models.second.path={tiny_models_folder / 'target'}",
        "runner.sources=[source,second]",
        "methods.relative.holdout=10",
        "runner.baselines=[]",
    ]
    losses = []
    for place, weights in enumerate(("[1.0,0.0]", "[1.0,1.0]")):
        directory = tmp_path / str(place)
        arguments = ["experiment=transfer", *transfer_overrides, *second, f"output_dir={directory}"]
        code = main([*arguments, f"objective.match.weight={weights}"])
        losses.append((code, [row.get("matching") for row in records(directory)] if code == 0 else None))
    assert losses[0] == (1, None)  # a source without a match is refused
    assert losses[1][0] == 0
