"""The Trainer of the config, as it tunes one soft prompt."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.precision import EXACT
from fuse_repro.quiet import quiet_lightning
from fuse_repro.runners.trainer import FIT, TEST, build_trainer
from fuse_repro.runners.transfer.checkpoints import BEST, LAST
from fuse_repro.runners.transfer.joint_module import JointTuningModule
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.tuning_module import PromptTuningModule
from fuse_repro.shown import shown
from fuse_repro.storage.checkpoints import WholeCheckpoints

SET_BY_OPTIMIZER = (
    "max_steps", "max_epochs", "min_steps", "min_epochs", "check_val_every_n_epoch", "val_check_interval",
)  # fmt: skip
NO_RESULT = (  # keys of a trainer that do not change what is tuned
    "_target_", "accelerator", "devices", "logger", "callbacks", "enable_checkpointing", "enable_model_summary",
    "enable_progress_bar", "inference_mode", "limit_test_batches", "limit_predict_batches", "profiler", "max_time",
    "log_every_n_steps", "default_root_dir",
)  # fmt: skip


OF_ONE_PROMPT = (  # what acts on the tuning of one prompt, and could not act the same on several at once
    "callbacks", "logger", "plugins", "max_time", "limit_train_batches", "limit_val_batches", "overfit_batches",
    "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "reload_dataloaders_every_n_epochs",
)  # fmt: skip
SCALED = "16-mixed"  # has one loss scale for all that is trained
AT_MOST = 64  # prompts in one forward pass, where nothing else is said


def decides_results(node: DictConfig | None) -> dict[str, Any]:
    """The keys of a trainer's config on which a tuned prompt depends, such as its precision."""
    values: Any = {} if node is None else OmegaConf.to_container(node, resolve=True)
    # Left out, too, where it is as it was before there was a choice: prompts of earlier versions are found.
    exact = values.get("matmul") in (None, EXACT)
    left_out = (*NO_RESULT, "matmul") if exact else NO_RESULT
    return {key: value for key, value in values.items() if key not in left_out}


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


@dataclass(frozen=True)
class Together:
    """Which prompts of one model are tuned in one forward pass.

    Attributes:
        most: how many.
        of_one_task: only the seeds of one task. The last digits of a prompt then depend on no other task, so that a run
            on a part of the tasks gives the same bytes as one on all.
    """

    most: int
    of_one_task: bool = False


def together(settings: PromptTuning, device: torch.device, trainer: Mapping[str, Any] | None) -> Together:
    """How many prompts are tuned together: what the settings say, else what suits the device.

    Args:
        settings: how prompts are tuned.
        device: where the model is.
        trainer: the config of the run's Trainer.
    """
    if settings.together is not None:
        return Together(settings.together)
    if _set_for_one_prompt(trainer):
        return Together(1)
    return Together(AT_MOST, of_one_task=device.type == "cpu")


def check_together(settings: PromptTuning, trainer: Mapping[str, Any]) -> None:
    """Refuse to tune several prompts together with a trainer's setting that acts on the tuning of one.

    Raises:
        UsageError: the first such setting.
    """
    name = _set_for_one_prompt(trainer)
    if settings.together not in (None, 1) and name is not None:
        said = f"trainer.{name}={shown(trainer[name])}"
        require(
            False, "optimizer.together", settings.together, f"1 or null with {said}, which acts on one prompt"
        )


def _set_for_one_prompt(trainer: Mapping[str, Any] | None) -> str | None:
    """The first setting of a trainer that acts on the tuning of one prompt."""
    given = {} if trainer is None else trainer
    for name in OF_ONE_PROMPT:
        value = given.get(name)
        if value and not (name == "accumulate_grad_batches" and value == 1):
            return name
    return "precision" if given.get("precision") == SCALED else None


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
    own = {"max_epochs": module.epochs, "check_val_every_n_epoch": module.epochs_per_look}
    return _trainer(lm, folder, node, _checkpoints(module, folder), own)


def make_joint_trainer(
    lm: FrozenModel, module: JointTuningModule, folder: Path, node: DictConfig | None = None
) -> pl.Trainer:
    """A trainer as `make_trainer`'s, for several prompts at once; it keeps the whole group in `folder`."""
    kept = ModelCheckpoint(filename=Path(LAST).stem, every_n_epochs=1, **_in(folder))
    return _trainer(lm, folder, node, [kept], {"max_epochs": math.ceil(module.steps / module.epoch_steps)})


def _trainer(
    lm: FrozenModel,
    folder: Path,
    node: DictConfig | None,
    callbacks: Sequence[pl.Callback],
    own: Mapping[str, Any],
) -> pl.Trainer:
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
            callbacks=callbacks,
            plugins=[WholeCheckpoints()],
            **own,
            num_sanity_val_steps=0,
            enable_checkpointing=True,
        )


def _checkpoints(module: PromptTuningModule, folder: Path) -> list[pl.Callback]:
    """The best prompt on dev, the last one, and the stop where dev no longer improves."""
    names = {**_in(folder), "every_n_epochs": module.epochs_per_look}
    best = ModelCheckpoint(filename=Path(BEST).stem, monitor="dev_score", mode="max", **names)
    patience = module.settings.patience
    stopping = EarlyStopping("dev_score", mode="max", patience=patience, check_on_train_epoch_end=False)
    return [best, ModelCheckpoint(filename=Path(LAST).stem, **names), stopping]


def _in(folder: Path) -> dict[str, Any]:
    return {"dirpath": folder, "enable_version_counter": False, "save_on_train_epoch_end": True}
