"""From the config groups to models, adapters and the objective."""

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import MultiObjectiveLoss
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.search import Optimizer
from fuse_repro.weights import cache_folder

PRIMARY = "lm"
Fit = partial[EmbeddingMap]


def build(node: DictConfig, *arguments: Any, **more: Any) -> Any:
    """Instantiate a config node; a user's mistake comes out as the UsageError that it is."""
    try:
        return instantiate(node, *arguments, **more)
    except InstantiationException as error:
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from error
        if isinstance(error.__cause__, TypeError):
            raise UsageError(
                f"{node.get('_target_')} cannot be made from these values: {error.__cause__}"
            ) from error
        raise


def build_fit(node: DictConfig) -> Fit:
    """The fit of the map that a node of conf/adapter names, with its settings, which are checked.

    Args:
        node: `_target_` is the `fit` of a map's class, the other keys its settings.

    Returns:
        Called with source, target and words, and `cache_dir=`, it gives the fitted map.

    Raises:
        UsageError: a key that the fit does not have, or a value out of range.
    """
    fit: Fit = build(node, _partial_=True)
    check = getattr(map_class(fit), "check", None)
    try:
        if check is not None:
            check(**fit.keywords)
        inspect.signature(fit.func).bind("source", "target", "words", cache_dir=None, **fit.keywords)
    except TypeError as error:
        raise UsageError(f"{node.get('_target_')} cannot fit a map with these values: {error}") from error
    return fit


def map_class(fit: Fit) -> Any:
    """The class whose `fit` it is; the function itself where it is of no class."""
    return getattr(fit.func, "__self__", fit.func)


def part_values(config: DictConfig, part: str) -> dict[str, Any]:
    """The resolved config of one part of a run that has several, which stand below its runner."""
    values = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    return values | {"runner": values["runner"][part]}


def build_trainer(node: DictConfig) -> Trainer:
    """The Lightning trainer. Raises UsageError where the machine lacks its accelerator."""
    if node.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UsageError(
            f"trainer.accelerator={node.accelerator} needs CUDA, which this machine or torch build lacks: "
            "use trainer=cpu"
        )
    try:
        trainer: Trainer = build(node)
    except (MisconfigurationException, InstantiationException) as error:
        raise UsageError(f"trainer: {' '.join(str(error.__cause__ or error).split())}") from error
    return trainer


def term_weights(objective: DictConfig) -> dict[str, float]:
    """Name -> weight of the terms that count. Raises UsageError for a negative weight or no term at all."""
    weights = {str(name): term.weight for name, term in objective.items()}
    for name, weight in weights.items():
        require(weight >= 0, f"objective.{name}.weight", weight, "at least 0 (0 drops the term)")
    used = {name: weight for name, weight in weights.items() if weight > 0}
    require(bool(used), "objective weights", weights, "at least one must be above 0")
    return used


def load_models(config: DictConfig, device: torch.device) -> dict[str, FrozenModel]:
    """The primary model and the models of the terms that count, on `device`: role -> model."""
    roles = {PRIMARY, *(config.objective[name].model for name in term_weights(config.objective))}
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


def build_objective(
    node: DictConfig, models: Mapping[str, FrozenModel], adapters: Mapping[str, EmbeddingMap]
) -> MultiObjectiveLoss:
    """The weighted sum of the terms of `node` that count, each with its model and adapter."""
    weights = term_weights(node)
    terms = {}
    for name in weights:
        settings = {key: value for key, value in node[name].items() if key not in ("model", "weight")}
        role = node[name].model
        parts: dict[str, Any] = {"lm": models[role]}
        if role != PRIMARY:
            parts = {"name": name, "encoder": models[role], "adapter": adapters.get(role)}
        terms[name] = build(DictConfig(settings), **parts)
    return MultiObjectiveLoss(terms, weights)


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
) -> PromptSearchParts:
    """Everything that a search needs, with the run directory opened.

    Everything that can be checked without a model is checked before one is loaded; `check` sees the models
    before the directory is opened. Raises UsageError for settings or data that cannot be used.
    """
    optimizer, corpus = build(config.optimizer), build(config.corpus)
    fit = None if config.adapter is None else build_fit(config.adapter)
    needed = optimizer.uses_gradients and fit is None
    require(
        not needed, "adapter", None, "a map, such as adapter=lookup, for an optimizer that uses gradients"
    )
    term_weights(config.objective)
    data = build(config.dataset)
    data.setup("predict")
    trainer = build_trainer(config.trainer)
    device = trainer.strategy.root_device
    models = load_models(config, device)
    lm = models[PRIMARY]
    require(isinstance(lm, CausalLM), "models.lm", lm.name, "a causal language model, such as smollm2_135m")
    check(models)
    files = {role: model.weights.files for role, model in models.items() if model.weights is not None}
    directory.open(device=str(device), weights=files)
    begun = time.perf_counter()
    adapters = {}
    if optimizer.uses_gradients and fit is not None:
        adapters = fit_adapters(models, fit, corpus.words(), cache_folder(config.cache_dir))
    fit_seconds = time.perf_counter() - begun
    return PromptSearchParts(data, trainer, optimizer, cast(CausalLM, lm), models, adapters, fit_seconds)
