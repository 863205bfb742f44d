"""The Trainer of the config, as it tunes one soft prompt."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.quiet import quiet_lightning
from fuse_repro.runners.trainer import FIT, TEST, build_trainer
from fuse_repro.runners.transfer.checkpoints import BEST, LAST, WholeCheckpoints
from fuse_repro.runners.transfer.tuning_module import PromptTuningModule

SET_BY_OPTIMIZER = (
    "max_steps", "max_epochs", "min_steps", "min_epochs", "check_val_every_n_epoch", "val_check_interval",
)  # fmt: skip
NO_RESULT = (  # keys of a trainer that do not change what is tuned
    "_target_", "accelerator", "devices", "logger", "callbacks", "enable_checkpointing", "enable_model_summary",
    "enable_progress_bar", "inference_mode", "limit_test_batches", "limit_predict_batches", "profiler", "max_time",
    "log_every_n_steps", "default_root_dir",
)  # fmt: skip


def decides_results(node: DictConfig | None) -> dict[str, Any]:
    """The keys of a trainer's config on which a tuned prompt depends, such as its precision."""
    values: Any = {} if node is None else OmegaConf.to_container(node, resolve=True)
    return {key: value for key, value in values.items() if key not in NO_RESULT}


def check_lengths(trainer: Mapping[str, Any]) -> None:
    """Refuse a number of steps in a trainer's config: the optimizer's config has it.

    Raises:
        UsageError: the first such setting.
    """
    for name in SET_BY_OPTIMIZER:
        value = trainer.get(name)
        require(
            value is None, f"trainer.{name}", value, "null: optimizer.max_steps and evaluate_every say it"
        )


def make_trainer(
    lm: FrozenModel, module: PromptTuningModule, folder: Path, node: DictConfig | None = None
) -> pl.Trainer:
    """A trainer on the model's device, which keeps the best and the last prompt in `folder`.

    Args:
        lm: the frozen model.
        module: what is trained.
        folder: for the checkpoints.
        node: the config of the run's Trainer; None for Lightning's defaults.

    Raises:
        UsageError: a setting that cannot be honoured, such as a number of steps, which the optimizer's config has.
    """
    on_gpu = lm.device.type == "cuda"
    place = {
        "accelerator": "gpu" if on_gpu else "cpu",
        "devices": [lm.device.index or 0] if on_gpu else 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    given: dict[str, Any] = {} if node is None else {str(key): value for key, value in node.items()}
    check_lengths(given)
    settings: Any = {"_target_": "pytorch_lightning.Trainer", "inference_mode": False} | given | place
    with quiet_lightning():
        return build_trainer(
            DictConfig(settings),
            FIT,
            TEST,
            root=folder,
            callbacks=_checkpoints(module, folder),
            plugins=[WholeCheckpoints()],
            max_epochs=module.epochs,
            check_val_every_n_epoch=module.epochs_per_look,
            num_sanity_val_steps=0,
            enable_checkpointing=True,
        )


def _checkpoints(module: PromptTuningModule, folder: Path) -> list[pl.Callback]:
    """The best prompt on dev, the last one, and the stop where dev no longer improves."""
    names: dict[str, Any] = {
        "dirpath": folder,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
        "every_n_epochs": module.epochs_per_look,
    }
    best = ModelCheckpoint(filename=Path(BEST).stem, monitor="dev_score", mode="max", **names)
    patience = module.settings.patience
    stopping = EarlyStopping("dev_score", mode="max", patience=patience, check_on_train_epoch_end=False)
    return [best, ModelCheckpoint(filename=Path(LAST).stem, **names), stopping]
