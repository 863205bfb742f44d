"""Everything that a config asks of Lightning's Trainer acts, or is refused with one line before anything is loaded."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.strategies import SingleDeviceStrategy

from fuse_repro.cli import main
from fuse_repro.runners.trainer import FIT, PREDICT, TEST, build_trainer

CPU = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "devices": 1, "inference_mode": False}
CPU |= {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


class Watcher(pl.Callback):
    """Counts the batches of a predict loop, and sees in what precision the language model is run."""

    batches: ClassVar[list[int]] = []
    mixed: ClassVar[set[bool]] = set()

    def on_predict_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        lm = getattr(module, "lm", None) or module.instrument.lm
        lm.model.register_forward_pre_hook(lambda *_: self.mixed.add(torch.is_autocast_enabled("cpu")))

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches.append(batch_idx)


WATCHED = f"trainer.callbacks=[{{_target_: {__name__}.Watcher}}]"


@pytest.fixture(autouse=True)
def _forget() -> None:
    Watcher.batches.clear()
    Watcher.mixed.clear()


def read(directory: Path, name: str) -> dict:
    return json.loads((directory / name).read_text())


def test_callbacks_limits_and_precision_of_the_config_act(
    tiny_overrides: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [*tiny_overrides, f"dataset.path={photos}", WATCHED]
    assert main([*common, f"output_dir={tmp_path / 'all'}"]) == 0
    assert Watcher.batches == [0, 1, 2]
    assert Watcher.mixed == {False}
    assert "left_out" not in read(tmp_path / "all", "results.json")
    Watcher.batches.clear()
    Watcher.mixed.clear()
    changes = ["trainer.limit_predict_batches=1", "trainer.precision=bf16-mixed", "trainer.profiler=simple"]
    assert main([*common, *changes, f"output_dir={tmp_path / 'one'}"]) == 0
    printed = capsys.readouterr().err
    assert Watcher.batches == [0]
    assert True in Watcher.mixed
    assert len((tmp_path / "one" / "records.jsonl").read_text().splitlines()) == 1
    results = read(tmp_path / "one", "results.json")
    assert results["items"] == {"done": 1, "failed": 0}
    assert results["left_out"] == {"items": 2, "by": "trainer.limit_predict_batches"}
    assert "items left out by trainer.limit_predict_batches: 2" in printed


def test_what_lightning_writes_is_in_the_run_directory(
    tiny_overrides: list[str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    extra = ["trainer.logger=true", "trainer.limit_predict_batches=1", f"output_dir={tmp_path / 'run'}"]
    assert main([*tiny_overrides, f"dataset.path={photos}", *extra]) == 0
    assert (tmp_path / "run" / "lightning_logs").is_dir()
    assert not list((tmp_path / "here").iterdir())


def test_metrics_find_the_models_where_lightning_put_them(
    tiny_overrides: list[str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = [*tiny_overrides, f"dataset.path={photos}", "dataset.limit=1", "runner.clip_score=vision"]
    assert main([*common, f"output_dir={tmp_path / 'plain'}"]) == 0

    def take_away(strategy: SingleDeviceStrategy) -> None:
        """As Lightning takes modules from a GPU to the CPU: here, to where nothing can be computed."""
        strategy.lightning_module.to("meta")

    monkeypatch.setattr(SingleDeviceStrategy, "teardown", take_away)
    assert main([*common, f"output_dir={tmp_path / 'moved'}"]) == 0
    plain, moved = (read(tmp_path / name, "results.json") for name in ("plain", "moved"))
    assert plain["CLIPScore"] == moved["CLIPScore"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.devices=2", "trainer.devices=2 is not allowed: a run works in one process on one device"),
        ("+trainer.num_nodes=2", "trainer.num_nodes=2 is not allowed: a run works in one process"),
        ("+trainer.strategy=ddp", "trainer.strategy='ddp' is not allowed: a run works in one process"),
        (
            "+trainer.max_epochs=3",
            "trainer.max_epochs=3 is not allowed: it acts in Lightning's fit loop only",
        ),
        ("+trainer.max_time='00:00:01:00'", "acts in Lightning's fit loop only, and this run uses predict"),
        ("trainer.limit_train_batches=2", "trainer.limit_train_batches=2 is not allowed"),
        ("trainer.limit_test_batches=0.5", "acts in Lightning's test loop only"),
        ("trainer.enable_checkpointing=true", "trainer.enable_checkpointing=True is not allowed"),
        ("trainer.limit_predict_batches=0", "trainer.limit_predict_batches=0 is not allowed: above 0"),
        ("trainer.limit_predict_batches=-1", "limit_predict_batches"),
        ("trainer.precision=bf16-true", "trainer.precision='bf16-true' is not allowed: one of 32-true"),
        ("trainer.inference_mode=true", "false: gradients are taken inside the loop"),
        ("trainer.callbacks=[{a: 1}]", "trainer.callbacks={'a': 1} is not allowed"),
        ("trainer.callbacks=[{_target_: nowhere.Nothing}]", "nowhere"),
        ("+trainer.widht=3", "widht"),
        ("trainer.profiler=slow", "`profiler` parameter of `Trainer`, it can only be one of"),
    ],
)
def test_what_cannot_be_honoured_is_refused_before_anything_is_loaded(
    tmp_path: Path, override: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(tmp_path, "caption", override, said, capsys)


@pytest.mark.parametrize("experiment", ["adapter_fidelity", "invert", "caption_sentiment"])
def test_every_runner_refuses_several_devices(
    tmp_path: Path, experiment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(tmp_path, experiment, "trainer.devices=2", "works in one process on one device", capsys)


@pytest.mark.parametrize("experiment", ["transfer", "maps_table"])
def test_transfers_refuse_several_devices(
    tmp_path: Path, experiment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [f"experiment={experiment}", "trainer=cpu", "trainer.devices=2"]
    command.append("models.target.accept_terms=true")
    assert main([*command, f"cache_dir={tmp_path / 'cache'}", f"output_dir={tmp_path / 'run'}"]) == 1
    printed = capsys.readouterr().err
    assert "works in one process on one device" in printed
    assert printed.count("\n") == 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["status.json"]
    assert read(tmp_path / "run", "status.json")["state"] == "failed"
    assert not (tmp_path / "cache").exists()


def refused(
    tmp_path: Path, experiment: str, override: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["dataset.path=nowhere", "models.lm.source=path", f"models.lm.path={tmp_path}", "trainer=cpu"]
    places += ["models.other.accept_terms=true"] if experiment == "adapter_fidelity" else []
    directory = tmp_path / "run"
    assert main([f"experiment={experiment}", *places, override, f"output_dir={directory}"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("fuse-repro: ")
    assert said in printed
    assert printed.count("\n") == 1
    assert [path.name for path in directory.iterdir()] == ["status.json"]
    assert read(directory, "status.json")["state"] == "failed"


def test_a_share_of_too_few_items_is_one_line(
    tiny_overrides: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ["trainer.limit_predict_batches=0.1", f"output_dir={tmp_path / 'run'}"]
    assert main([*tiny_overrides, f"dataset.path={photos}", *extra]) == 1
    printed = capsys.readouterr().err
    assert "trainer: You requested to check 0.1" in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("experiment", "changes", "said"),
    [
        ("caption", ["model@models.lm=bert_base"], "models.lm='bert_base' is not allowed: a causal language"),
        (
            "adapter_fidelity",
            ["model@models.lm=mini_a", "models.other.accept_terms=true"],
            "models.lm='mini_a' is not allowed: a causal",
        ),
        ("invert", ["model@models.lm=minilm"], "models.lm='minilm' is not allowed: a causal language"),
        (
            "caption",
            ["runner.clip_score=lm"],
            "runner.clip_score=lm: models.lm='smollm2_135m' is not allowed",
        ),
        (
            "caption",
            ["runner.clip_score=judge"],
            "runner.clip_score='judge' is not allowed: null, or the role",
        ),
        (
            "caption",
            ["runner.metrics_prefix=cut"],
            "runner.metrics_prefix='cut' is not allowed: one of strip",
        ),
    ],
)
def test_models_of_another_kind_are_refused_before_they_are_loaded(
    tmp_path: Path, experiment: str, changes: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["dataset.path=nowhere", f"cache_dir={tmp_path / 'cache'}"]
    assert main([f"experiment={experiment}", *places, *changes, f"output_dir={tmp_path / 'run'}"]) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "cache").exists()


def trainer(*loops: str, **values: Any) -> pl.Trainer:
    own = values.pop("own", {})
    return build_trainer(OmegaConf.create(CPU | values), *loops, **own)


def test_a_runner_adds_callbacks_and_sets_what_the_config_does_not() -> None:
    added = Watcher()
    built = trainer(
        FIT,
        TEST,
        callbacks=[{"_target_": f"{__name__}.Watcher"}],
        limit_test_batches=3,
        own={"callbacks": [added], "max_epochs": 7},
    )
    watchers = [callback for callback in built.callbacks if isinstance(callback, Watcher)]
    assert len(watchers) == 2
    assert watchers[-1] is added
    assert (built.max_epochs, built.limit_test_batches) == (7, 3)


def test_what_a_runner_sets_the_config_must_not() -> None:
    with pytest.raises(ValueError, match=r"trainer\.max_epochs=3 is not allowed: the run sets it itself"):
        trainer(FIT, max_epochs=3, own={"max_epochs": 7})


def test_lists_in_the_config_reach_lightning_as_lists() -> None:
    with pytest.raises(ValueError, match="`devices` selected with `CPUAccelerator` should be an int > 0"):
        trainer(PREDICT, devices=[0])
