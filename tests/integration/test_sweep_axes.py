"""What the axes of a sweep may be, and what is said of a sweep before its first point starts."""

import json
from pathlib import Path

import pytest
from drills import drill, the_sweep

from fuse_repro.cli import main

QUICK = ["hydra.launcher.in_process=true", "runner.count=1"]
GATED = [
    "models.target._target_=builtins.dict",
    "models.target.name=gated",
    "models.target.terms=https://example.org/terms",
    "models.target.accept_terms=false",
]


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("+optimizer=glob(autodan*)", ["autodan", "autodan_laptop", "autodan_paper", "autodan_refined"]),
        (
            "+optimizer=glob(*,exclude=[random*,autodan_*,opti*,gcg_*])",
            ["autodan", "autoprompt", "gaslite", "gcg", "pez"],
        ),
        ("+optimizer=glob([gcg,pez])", ["gcg", "pez"]),
        ("+model@models.lm=glob(gpt2_*)", ["gpt2_large", "gpt2_medium"]),
    ],
)
def test_an_axis_of_the_options_of_a_group(tmp_path: Path, axis: str, values: list[str]) -> None:
    assert main(drill(tmp_path, *QUICK, axis)) == 0
    sweep = json.loads((the_sweep(tmp_path).directory / "sweep.json").read_text())
    assert sweep["axes"] == {axis.split("=")[0].lstrip("+"): values}
    listed = f"{axis.split('=')[0]}={','.join(reversed(values))}"
    assert main(drill(tmp_path, *QUICK, listed)) == 0, "in the same directory"
    assert len(the_sweep(tmp_path).points) == len(values)


def test_a_pattern_that_no_option_has(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(drill(tmp_path, *QUICK, "+optimizer=glob(x*)")) == 2
    assert "the grid is empty: +optimizer=glob(x*) has no value" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("grids", ["sweep=seeds,more", "sweep=[seeds,more]", "sweep=choice(more,seeds)"])
def test_named_grids_are_joined(tmp_path: Path, grids: str) -> None:
    own = tmp_path / "conf"
    (own / "sweep").mkdir(parents=True)
    (own / "experiment").mkdir()
    (own / "sweep" / "more.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {runner.scale: '1.0,2.0'}}}\n"
    )
    text = (Path(__file__).parents[1] / "drill" / "experiment" / "drill.yaml").read_text()
    (own / "experiment" / "drill.yaml").write_text(text)
    command = drill(tmp_path, *QUICK, grids)
    command[1] = f"--config-dir={own}"
    assert main(command) == 0
    sweep = json.loads((the_sweep(tmp_path).directory / "sweep.json").read_text())
    assert sweep["axes"] == {"seed": [0, 1, 2, 3, 4], "runner.scale": [1.0, 2.0]}
    assert len(sweep["points"]) == 10


def test_terms_of_use_are_asked_for_before_the_first_point(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gated = [f"++{override}" for override in [*GATED, "runner.sources=[target]", "runner.target=target"]]
    assert main(drill(tmp_path, *QUICK, *gated, "seed=0,1")) == 2
    printed = capsys.readouterr().err
    assert "models.target.accept_terms=true" in printed
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert main(drill(tmp_path, *QUICK, *gated, "++models.target.accept_terms=true", "seed=0,1")) == 0


def test_terms_of_use_of_some_points_stop_no_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gated = [f"++{override}" for override in [*GATED, "models.own.name=own"]]
    assert main(drill(tmp_path, *QUICK, *gated, "++runner.target=own,target")) == 1
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("fuse-repro: 1 of 2 points will fail: models.target is gated")
    states = [point.state.state for point in the_sweep(tmp_path).points.values()]
    assert sorted(states) == ["done", "failed"]


def test_a_dry_run_says_which_terms_have_to_be_accepted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for more in ([], ["seed=0,1"]):
        assert main([*(["-m"] if more else []), "experiment=transfer", "dry_run=true", *more]) == 0
        told = [line for line in capsys.readouterr().out.splitlines() if "accept_terms=true" in line]
        assert len(told) == 1
        assert told[0].startswith("before it can run: models.target is gemma3_270m")
    assert main(["experiment=transfer", "dry_run=true", "models.target.accept_terms=true"]) == 0
    assert "accept_terms" not in capsys.readouterr().out


def test_a_dry_run_of_a_search_starts_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    command = ["-m", "experiment=demo", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=7", "dry_run=true"]
    command += ["hydra.sweeper.metrics={objective.mean: minimize}", "optimizer.beam=choice(3,5)"]
    assert main([*command, "objective.image.weight=interval(2.0,30.0)"]) == 0
    said = capsys.readouterr().out
    assert "7 trials in all; the search costs 7 times what one trial does" in said
    assert "optimizer.beam=3 objective.image.weight=2.0" in said
    assert "points: 1; nothing is run" in said
    assert "forward passes" in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert main([*command, "objective.image.weight=interval(3.0,2.0)"]) == 2
    assert "is empty" in capsys.readouterr().err
