"""What a run may ask of Lightning's Trainer: settings that act in its loops, and one process on one device."""

import inspect
import math
import warnings
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from lightning_fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fuse_repro.errors import UsageError, require
from fuse_repro.runners.build import build
from fuse_repro.runners.precision import MatmulPrecision, check_device, check_precision, matmul_of
from fuse_repro.shown import say

FIT, TEST, PREDICT = "fit", "test", "predict"
LIMITS = {FIT: "limit_train_batches", TEST: "limit_test_batches", PREDICT: "limit_predict_batches"}
# The loops in which a setting of the Trainer acts; one that is not named acts in all of them.
ONLY_IN: Mapping[str, tuple[str, ...]] = {
    "limit_test_batches": (TEST,),
    "limit_predict_batches": (PREDICT,),
    "fast_dev_run": (PREDICT,),  # elsewhere it takes away the checkpoints and figures that a run needs
    "barebones": (PREDICT,),
    **dict.fromkeys(
        (
            "limit_train_batches",
            "limit_val_batches",
            "overfit_batches",
            "max_epochs",
            "min_epochs",
            "max_steps",
            "min_steps",
            "max_time",
            "val_check_interval",
            "check_val_every_n_epoch",
            "num_sanity_val_steps",
            "log_every_n_steps",
            "enable_checkpointing",
            "enable_model_summary",
            "accumulate_grad_batches",
            "gradient_clip_val",
            "gradient_clip_algorithm",
            "detect_anomaly",
            "reload_dataloaders_every_n_epochs",
            "model_registry",
        ),
        (FIT,),
    ),
}


def build_trainer(
    node: DictConfig,
    *loops: str,
    root: Path | None = None,
    callbacks: Sequence[Callback] = (),
    plugins: Sequence[CheckpointIO] = (),
    **own: Any,
) -> Trainer:
    """The one Lightning trainer of a run, with everything that its config asks for.

    Args:
        node: the config, `_target_` and the Trainer's arguments; callbacks, loggers and the like are nodes in it.
        loops: those that the run uses, of "fit", "test" and "predict"; what acts in none of them is refused. None
            given: whatever is set is taken.
        root: where Lightning writes what it is asked to write; the run's directory.
        callbacks: the runner's, which come after those of the config.
        plugins: as well.
        own: arguments that the runner sets itself, which the config must not.

    Raises:
        UsageError: an accelerator that the machine lacks, several processes, or a setting that cannot be honoured.
    """
    values = cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    check_trainer(values, loops, tuple(own))
    if node.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UsageError(
            f"trainer.accelerator={node.accelerator} needs CUDA, which this machine or torch build lacks: "
            "use trainer=cpu"
        )
    if root is not None and values.get("default_root_dir") is None:
        own["default_root_dir"] = root
    try:
        made = DictConfig({key: value for key, value in values.items() if key != "matmul"}, key="trainer")
        make = build(made, _partial_=True, _convert_="all")
        given = make.keywords.get("callbacks") or []
        listed = [
            *(given if isinstance(given, list) else [given]),
            *callbacks,
            MatmulPrecision(matmul_of(values)),
        ]
        for callback in listed:
            makes = isinstance(callback, Callback)
            require(
                makes, "trainer.callbacks", callback, "a list of {_target_: A CALLBACK OF LIGHTNING, ...}"
            )
        given = make.keywords.get("plugins") or []
        joined = alone([*(given if isinstance(given, list) else [given]), *plugins])
        with warnings.catch_warnings():  # `check_device` refuses it
            warnings.filterwarnings("ignore", ".*AMP with fp16 is not supported on CPU")
            trainer: Trainer = make(**own | {"callbacks": listed, "plugins": joined})
    except UsageError:
        raise
    except (InstantiationException, MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"trainer: {' '.join(str(error.__cause__ or error).split())}") from error
    check_one_process(trainer, values)
    check_device(values, trainer.strategy.root_device)
    return trainer


def alone(plugins: Sequence[Any] = ()) -> list[Any]:
    """A trainer's plugins, with one that says that no cluster is to be asked for processes, signals or restarts.

    Without it Lightning looks at the environment. In a Slurm job it then wants a device for every task of the
    allocation. At SIGUSR1 it writes a checkpoint of its own and requeues the job. A run is one process, and its
    records are what it goes on from.

    Args:
        plugins: further ones; an environment among them is taken instead.

    Raises:
        UsageError: an environment that requeues jobs.
    """
    environments = [plugin for plugin in plugins if isinstance(plugin, ClusterEnvironment)]
    for one in environments:
        requeues = isinstance(one, SLURMEnvironment) and one.auto_requeue
        allowed = (
            "auto_requeue: false, or leave it out: a run goes on from its records when it is started again"
        )
        require(not requeues, "trainer.plugins", "SLURMEnvironment with auto_requeue", allowed)
    return [*plugins] if environments else [*plugins, LightningEnvironment()]


def check_trainer(values: Mapping[str, Any], loops: Sequence[str], own: Sequence[str] = ()) -> None:
    """Refuse what would be ignored, or would end in an error inside Lightning.

    Args:
        values: the trainer's resolved config.
        loops: the loops that the run uses, of fit, test and predict; none leaves out what depends on them.
        own: settings that the runner makes itself.

    Raises:
        UsageError: the first setting that cannot be honoured.
    """
    for name, value in values.items():
        if _is_default(name, value):
            continue
        require(name not in own, f"trainer.{name}", value, "the run sets it itself; leave it out")
        acts = ONLY_IN.get(name)
        if loops and acts is not None and not set(acts) & set(loops):
            allowed = f"it acts in Lightning's {acts[0]} loop only, and this run uses {' and '.join(loops)}"
            require(False, f"trainer.{name}", value, f"{allowed}; leave it out")
    check_precision(values)
    for limit in (LIMITS[loop] for loop in loops):
        require(values.get(limit) != 0, f"trainer.{limit}", 0, "above 0, or null for everything")
    if TEST in loops or PREDICT in loops:
        mode = values.get("inference_mode", True)
        require(not mode, "trainer.inference_mode", mode, "false: gradients are taken inside the loop")


def check_one_process(trainer: pl.Trainer, values: Mapping[str, Any]) -> None:
    """Raise UsageError for a trainer of several processes or devices, whose work no runner can share."""
    if trainer.world_size == 1 and trainer.strategy.launcher is None:
        return
    several = {"devices": trainer.num_devices > 1, "num_nodes": trainer.num_nodes > 1}
    name = next((name for name, more in several.items() if more), "strategy")
    raise UsageError(
        f"trainer.{name}={values.get(name)!r} is not allowed: a run works in one process on one device; use "
        "trainer.devices=1 without a strategy, and for several GPUs a sweep with hydra.launcher.gpus=[0,1]"
    )


def predict(trainer: pl.Trainer, module: pl.LightningModule, **data: Any) -> None:
    """Run the predict loop; what it found, the module keeps.

    Raises:
        UsageError: settings of the trainer that do not suit the data, such as too small a share of it.
    """
    try:
        trainer.predict(module, return_predictions=False, **data)
    except MisconfigurationException as error:
        raise UsageError(f"trainer: {' '.join(str(error).split())}") from error


def looked_at(trainer: pl.Trainer, items: Sequence[Any]) -> Sequence[Any]:
    """Those of the items that the predict loop will look at, as far as the trainer's limits say."""
    limit = trainer.limit_predict_batches
    count = limit if isinstance(limit, int) else int(len(items) * limit)
    return items[:count]


def said_left_out(trainer: pl.Trainer) -> dict[str, Any]:
    """For results.json: how many items the predict loop left out by the trainer's limits. Says so on standard error."""
    count = left_out(trainer)
    if not count:
        return {}
    by = "trainer.fast_dev_run" if getattr(trainer, "fast_dev_run", False) else f"trainer.{LIMITS[PREDICT]}"
    say(f"items left out by {by}: {count}")
    return {"left_out": {"items": count, "by": by}}


def left_out(trainer: pl.Trainer) -> int:
    """How many items of the data the predict loop that has ended did not look at."""
    items = getattr(trainer.predict_dataloaders, "dataset", None)
    (looked_at,) = trainer.num_predict_batches
    return 0 if math.isinf(looked_at) or not isinstance(items, Sized) else len(items) - int(looked_at)


def _is_default(name: str, value: Any) -> bool:
    """Whether a setting is off, or as Lightning has it."""
    known = inspect.signature(pl.Trainer.__init__).parameters.get(name)
    default = None if known is None else known.default
    return value is None or value is False or (default is not None and value == default)
