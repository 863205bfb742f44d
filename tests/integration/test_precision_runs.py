"""Precision as whole commands have it: what a manifest and records say, and what acts where."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fuse_repro.cli import main
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners import precision


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A device that has TF32, and the precision of products in which models read embeddings."""
    seen: list[str] = []
    embed = FrozenModel.embed

    def noted(model: FrozenModel, ids: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_float32_matmul_precision())
        return embed(model, ids)

    monkeypatch.setattr(FrozenModel, "embed", noted)
    monkeypatch.setattr(precision, "multiplies_tf32", lambda device: True)
    yield seen
    assert torch.get_float32_matmul_precision() == "highest"


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]


def test_a_search_with_tf32_says_so(
    tiny_overrides: list[str], photos: Path, tmp_path: Path, products: list[str]
) -> None:
    directory = tmp_path / "run"
    command = [*tiny_overrides, f"dataset.path={photos}", "dataset.limit=1", f"output_dir={directory}"]
    assert main([*command, "trainer.matmul=high"]) == 0
    assert "high" in products
    assert json.loads((directory / "manifest.json").read_text())["config"]["trainer"]["matmul"] == "high"


def test_tuning_and_evaluation_take_tf32_and_maps_do_not(
    transfer_overrides: list[str], tmp_path: Path, products: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fuse_repro.runners.transfer import methods

    fits: list[str] = []
    fit_map = methods.fit_map

    def noted(*arguments: Any, **keywords: Any) -> Any:
        fits.append(torch.get_float32_matmul_precision())
        return fit_map(*arguments, **keywords)

    monkeypatch.setattr(methods, "fit_map", noted)
    command = ["experiment=transfer", *transfer_overrides, "methods.relative.holdout=10"]
    command.append(f"output_dir={tmp_path / 'run'}")
    assert main([*command, "trainer.matmul=high"]) == 0
    assert "high" in products
    assert fits
    assert set(fits) == {"highest"}


def test_screening_all_candidates_writes_what_no_screening_writes(
    tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    command = [*tiny_overrides, f"dataset.path={photos}"]
    found = []
    for name, screen in (("plain", "null"), ("screened", "8")):
        directory = tmp_path / name
        assert main([*command, f"optimizer.screen={screen}", f"output_dir={directory}"]) == 0
        found.append(records(directory))
    for plain, screened in zip(*found, strict=True):
        cost, more = plain.pop("cost"), screened.pop("cost")
        assert more["flops"] > cost["flops"]
        assert screened == plain


def test_screening_in_mixed_precision_is_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["experiment=caption", "dataset.path=nowhere", "trainer=cpu", "trainer.precision=bf16-mixed"]
    command += ["optimizer.screen=16", f"cache_dir={tmp_path / 'cache'}"]
    precision._say_once.cache_clear()
    assert main([*command, f"output_dir={tmp_path / 'run'}"]) == 1
    said = "optimizer.screen=16 is not allowed: null with trainer.precision=bf16-mixed"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
