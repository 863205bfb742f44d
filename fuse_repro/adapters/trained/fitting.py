"""Training a map with Lightning's Trainer: written down on the way, so that a stopped training goes on."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from fuse_repro.adapters.trained.network import WordNetwork
from fuse_repro.adapters.trained.settings import TrainedSettings
from fuse_repro.adapters.trained.training import OWN, TrainingCost, WordTraining
from fuse_repro.adapters.trained.words import Groups
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.precision import full_precision
from fuse_repro.progress import bar
from fuse_repro.quiet import quiet_lightning
from fuse_repro.storage.checkpoints import WholeCheckpoints, read_checkpoint
from fuse_repro.storage.tensors import Damaged

LAST = "last.ckpt"


@torch.enable_grad()
def train(
    network: WordNetwork,
    models: tuple[FrozenModel, FrozenModel],
    data: tuple[Groups, Groups],
    settings: TrainedSettings,
    folder: Path | None = None,
) -> tuple[Mapping[str, Tensor], TrainingCost]:
    """Train the network on words, and give the state that was best on the held-out ones, with what it took.

    Args:
        network: in its first state; its weights change.
        models: source and target.
        data: the words to learn from, and the held-out ones.
        settings: how to train.
        folder: where the training is written down, so that it can go on; it is gone when the training has ended.
            None for none.

    Raises:
        UsageError: training diverges, or the folder cannot be written.
    """
    _see_spread(network, models, data[0])
    module = WordTraining(network, models, data, settings)
    with _kept(folder) as place, quiet_lightning(), full_precision(models[0].device):
        before = _resumable(place / LAST, network)
        with bar("training the map", settings.steps) as module.advance:
            trainer = _trainer(models[0].device, place, settings)
            trainer.fit(module, ckpt_path=before, weights_only=True)
        network.to(models[0].device)  # Lightning has taken it to the CPU
        module.look()
    return module.best, module.cost()


@contextlib.contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    """The folder of a training: it stays if the training is stopped, and is removed when it is over or has failed."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="fuse_repro_training_") as temporary:
            yield Path(temporary)
        return
    try:
        yield folder
    except UsageError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _trainer(device: torch.device, folder: Path, settings: TrainedSettings) -> pl.Trainer:
    on_gpu = device.type == "cuda"
    kept = ModelCheckpoint(
        dirpath=folder, filename=Path(LAST).stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="gpu" if on_gpu else "cpu",
        devices=[device.index or 0] if on_gpu else 1,
        max_steps=settings.steps,
        reload_dataloaders_every_n_epochs=1,
        gradient_clip_val=1.0,
        logger=False,
        callbacks=[kept],
        plugins=[WholeCheckpoints(), LightningEnvironment()],
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _resumable(path: Path, network: WordNetwork) -> Path | None:
    """The checkpoint that training goes on from; a damaged one is removed, which is said on standard error."""
    if not path.exists():
        return None
    try:
        found = read_checkpoint(path)
        own = found.get(OWN)
        if not isinstance(own, dict) or set(own) != {"best", "error", "done", "seconds", "flops"}:
            raise Damaged(f"{path} is no checkpoint of a map")
        wanted = {name: value.shape for name, value in network.state_dict().items()}
        for state in (own["best"] or found["state_dict"], found["state_dict"]):
            shapes = {name.removeprefix("network."): value.shape for name, value in state.items()}
            if shapes != wanted or not all(bool(value.isfinite().all()) for value in state.values()):
                raise Damaged(f"{path} holds another network")
    except Damaged as error:
        print(f"fuse-repro: {error}: training starts anew", file=sys.stderr)
        path.unlink(missing_ok=True)
        return None
    return path


@torch.no_grad()
def _see_spread(network: WordNetwork, models: tuple[FrozenModel, FrozenModel], words: Groups) -> None:
    """Set the network's units: mean and spread of the tokens that the words have, each once."""
    for side, model in zip(("source", "target"), models, strict=True):
        ids = torch.cat([getattr(group, side).flatten() for group in words.values()]).unique()
        rows = model.embed(ids).float()
        mean = rows.mean(0)
        spread = (rows - mean).square().mean().sqrt()
        getattr(network, f"{side}_mean").copy_(mean)
        getattr(network, f"{side}_scale").copy_(spread if spread > 0 else torch.ones(()))
