"""From the config groups to what a run is made of: models, adapters, data, trainer and optimizer."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_type_hints

import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningDataModule, Trainer

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.data.item_data import ItemData
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.runners.build import Fit, build, build_data, build_fit
from fuse_repro.runners.objective import PRIMARY, term_roles
from fuse_repro.runners.precision import check_screening
from fuse_repro.runners.shards import shard_note
from fuse_repro.runners.trainer import PREDICT, build_trainer
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.search import Optimizer
from fuse_repro.search.trials import no_draft
from fuse_repro.weights import cache_folder

CAUSAL = "a causal language model, such as smollm2_135m"
PARTED = ("runner", "dataset", "optimizer", "objective")


def part_values(config: DictConfig, part: str, groups: Sequence[str] = PARTED) -> dict[str, Any]:
    """The resolved config of one part of a run that has several, such as the captions of a table of maps.

    Its values stand below the part's name in each of `groups`; the other groups serve all parts.
    """
    values = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    return values | {group: values[group][part] for group in groups}


def weight_files(models: Mapping[str, FrozenModel]) -> dict[str, Mapping[str, str]]:
    """Role -> file -> sha256, of the models whose weights came from files: what a manifest says of them."""
    return {role: model.weights.files for role, model in models.items() if model.weights is not None}


def check_kind(config: DictConfig, role: str, kind: type, key: str, allowed: str) -> None:
    """Raise UsageError where the config says already that the model in `role` is of another kind.

    What only the model itself can tell is found out once it is loaded.
    """
    node = config.models.get(role)
    require(node is not None, key, role, f"one of the roles in models: {', '.join(config.models)}")
    made = _made_by(str(node.get("_target_")))
    possible = made is None or issubclass(made, kind) or issubclass(kind, made)
    require(possible, key, node.get("name"), allowed)


def _made_by(target: str) -> type | None:
    """The class that a `_target_` makes: itself, the one whose method it is, or what its annotation says."""
    try:
        found = get_object(target)
        made = found if isinstance(found, type) else getattr(found, "__self__", None)
        made = made or get_type_hints(found).get("return")
    except Exception:  # whatever is wrong with it, making the model says so
        return None
    return made if isinstance(made, type) else None


def corpus_words(config: DictConfig) -> tuple[str, ...]:
    """The words that maps are fitted on; made before a model is loaded, so that mistakes in them are found first.

    Raises:
        UsageError: a corpus that cannot be read, or has fewer words than asked for.
    """
    words: tuple[str, ...] = build(config.corpus).words()
    return words


def load_models(config: DictConfig, device: torch.device, more: Sequence[str] = ()) -> dict[str, FrozenModel]:
    """The primary model, the models of the terms that count, and those of the roles `more`: role -> model."""
    roles = {PRIMARY, *term_roles(config.objective).values(), *more}
    missing = sorted(roles - set(config.models))
    require(
        not missing, "objective model", missing, f"one of the roles in models: {', '.join(config.models)}"
    )
    return {role: build(config.models[role]).to(device) for role in config.models if role in roles}


def fit_adapters(
    models: Mapping[str, FrozenModel], fit: Fit, words: tuple[str, ...], cache_dir: Path
) -> dict[str, EmbeddingMap]:
    """An adapter from the primary model to every other: role -> map."""
    primary = models[PRIMARY]
    return {
        role: fit(primary, model, words, cache_dir=cache_dir)
        for role, model in models.items()
        if role != PRIMARY
    }


@dataclass(frozen=True)
class PromptSearchParts:
    """What a run that searches for prompts is made of.

    lm: the primary model; models: all of them by role, the primary too; adapters: role -> map, none where the
    optimizer uses no gradients; fit_seconds: what fitting them took.
    """

    data: LightningDataModule
    trainer: Trainer
    optimizer: Optimizer
    lm: CausalLM
    models: dict[str, FrozenModel]
    adapters: dict[str, EmbeddingMap]
    fit_seconds: float


def prepare_search(
    config: DictConfig,
    directory: RunDirectory,
    check: Callable[[Mapping[str, FrozenModel]], None] = lambda models: None,
    check_data: Callable[[Any], None] = lambda data: None,
    unseen: Sequence[str] = (),
    drafts: bool = False,
) -> PromptSearchParts:
    """Everything that a search needs, with the run directory opened.

    Everything that can be checked without a model is checked before one is loaded, by `check_data`, too; `check` sees
    the models before the directory is opened. The models of the roles `unseen` are loaded, too, and have no adapter.
    `drafts` says whether there are drafts of the objective, which probing needs.
    Raises UsageError for settings or data that cannot be used.
    """
    optimizer = build(config.optimizer)
    if not drafts and (probe := getattr(optimizer, "probe", None)) is not None:
        raise UsageError(no_draft(probe))
    fit = None if config.adapter is None else build_fit(config.adapter)
    needed = optimizer.uses_gradients and fit is None
    require(
        not needed, "adapter", None, "a map, such as adapter=lookup, for an optimizer that uses gradients"
    )
    term_roles(config.objective)
    check_kind(config, PRIMARY, CausalLM, "models.lm", CAUSAL)
    trainer = build_trainer(config.trainer, PREDICT, root=directory.path)
    device = trainer.strategy.root_device
    check_screening(config, device)
    data = build_data(config.dataset)
    data.setup("predict")
    shard = shard_note(config, data.division, data.names()) if isinstance(data, ItemData) else None
    check_data(data)
    words = corpus_words(config) if optimizer.uses_gradients else ()
    models = load_models(config, device, unseen)
    lm = models[PRIMARY]
    require(isinstance(lm, CausalLM), "models.lm", lm.name, CAUSAL)
    check(models)
    files = weight_files(models)
    directory.open(device=str(device), weights=files, shard=shard)
    begun = time.perf_counter()
    adapters = {}
    if optimizer.uses_gradients and fit is not None:
        mapped = {role: model for role, model in models.items() if role not in unseen}
        adapters = fit_adapters(mapped, fit, words, cache_folder(config.cache_dir))
    fit_seconds = time.perf_counter() - begun
    return PromptSearchParts(data, trainer, optimizer, cast(CausalLM, lm), models, adapters, fit_seconds)
