"""`dry_run=true` counts every runner's work; the papers' recipes have their own tests."""

from pathlib import Path

import pytest

from fuse_repro.cli import main
from fuse_repro.schema import config_folder

OTHERS = sorted(path.stem for path in (config_folder() / "experiment").glob("*.yaml"))


@pytest.mark.parametrize(
    ("experiment", "setting", "passes"),
    [
        ("invert", "dataset.texts=[a cat,a dog]", 2 * 16 * 5 * 128),  # texts, tokens, beam, candidates
        ("adapter_fidelity", "runner.prompts=3", 3 * 4 * 2048),  # of the other language model
        ("maps_table", "dataset.captions.limit=5", 8 * 5 * 8 * 64),  # maps, photographs, tokens, candidates
    ],
)
def test_every_other_run_says_what_it_costs(
    experiment: str,
    setting: str,
    passes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main([f"experiment={experiment}", "dry_run=true", setting]) == 0
    said = capsys.readouterr().out
    (candidates,) = {line for line in said.splitlines() if "candidates" in line and f" {passes:,} " in line}
    assert candidates
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("experiment", OTHERS)
def test_every_experiment_has_a_dry_run(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([f"experiment={experiment}", "dry_run=true"]) == 0
    assert "forward passes" in capsys.readouterr().out


def test_a_bound_on_operations_bounds_what_a_run_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["experiment=invert", "dry_run=true", "dataset.texts=[a cat,a dog]", "dry_run_tflops=1e-3"]
    assert (
        main([*command, "optimizer.max_flops=3.6e12"]) == 0
    )  # an hour at 10^9 a second, for each of two texts
    assert " 2.0 " in capsys.readouterr().out.rpartition("forward passes,")[2].partition("hours")[0]
    assert main([*command, "optimizer.max_flops=1e30"]) == 0
    bounded = capsys.readouterr().out
    assert main(command) == 0
    assert capsys.readouterr().out == bounded, "never more than the search's own steps"


def test_what_is_screened_and_computed_again_costs_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert (
        main(["experiment=invert", "dry_run=true", "dataset.texts=[a cat,a dog]", "optimizer.screen=8"]) == 0
    )
    (candidates,) = {line for line in capsys.readouterr().out.splitlines() if " candidates " in line}
    assert f" {2 * 16 * 5 * (128 + 8):,} " in candidates
