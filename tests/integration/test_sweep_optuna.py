"""The search by Optuna: on real points, resumable, with one metric or several."""

import json
from pathlib import Path

import pytest
from drills import drill, the_sweep

from fuse_repro.cli import main

optuna = pytest.importorskip("optuna")

SEARCH = [
    "hydra/sweeper=optuna",
    "hydra.launcher.in_process=true",
    "runner.count=1",
    "runner.at=0",
    "runner.scale=interval(0.5,2.0)",
    "seed=choice(0,1)",
]
MEAN = "hydra.sweeper.metrics={mean: minimize}"


def trials(root: Path) -> list:
    directory = the_sweep(root).directory
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(directory / "optuna.jsonl"))
    )
    (study,) = optuna.study.get_all_study_summaries(storage)
    return optuna.load_study(study_name=study.study_name, storage=storage).get_trials()


def test_a_search_goes_on_where_it_was(tmp_path: Path) -> None:
    command = drill(tmp_path, *SEARCH, MEAN, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    assert main(command) == 0
    first = trials(tmp_path)
    assert [trial.state.name for trial in first] == ["COMPLETE"] * 4
    for trial in first:
        assert 0.5 <= trial.params["runner.scale"] <= 2.0
        assert trial.params["seed"] in (0, 1)
    points = the_sweep(tmp_path).points.values()
    means = [json.loads((point.directory / "results.json").read_text())["mean"] for point in points]
    assert sorted(trial.value for trial in first) == pytest.approx(sorted(means))
    assert main(command) == 0
    assert len(trials(tmp_path)) == 4
    assert main([*command, "hydra.sweeper.n_trials=5"]) == 0
    assert len(trials(tmp_path)) == 5


def test_a_failed_trial_is_asked_for_again(tmp_path: Path) -> None:
    command = drill(
        tmp_path, *SEARCH, MEAN, "hydra.sweeper.n_trials=2", "runner.fault=exception", "runner.once=true"
    )
    assert main(command) == 1
    failed = trials(tmp_path)
    assert {trial.state.name for trial in failed} == {"FAIL"}
    assert main(command) == 0
    well = [trial.params for trial in trials(tmp_path) if trial.state.name == "COMPLETE"]
    assert well == [trial.params for trial in failed]


def test_several_metrics_make_trade_offs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    metrics = "hydra.sweeper.metrics={mean: minimize, environment.threads: maximize}"
    assert (
        main(drill(tmp_path, *SEARCH, metrics, "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler=nsga2"))
        == 0
    )
    assert [len(trial.values) for trial in trials(tmp_path)] == [2, 2]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("hydra.sweeper.metrics={loss: minimize}", "has no number loss: hydra.sweeper.metrics may name mean"),
        ("hydra.sweeper.metrics={mean: least}", "hydra.sweeper.metrics="),
        ("hydra.sweeper.sampler=grid", "one of tpe, random, nsga2"),
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0"),
        ("runner.scale=interval(2.0,1.0)", "runner.scale=interval(2.0,1.0)"),
    ],
)
def test_a_search_that_cannot_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, override: str, said: str
) -> None:
    metrics = [] if "metrics" in override else [MEAN]
    assert main(drill(tmp_path, *SEARCH, *metrics, override)) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


def test_nothing_to_search_over(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(drill(tmp_path, *SEARCH[:2], MEAN)) == 2
    assert "nothing to search over" in capsys.readouterr().err
