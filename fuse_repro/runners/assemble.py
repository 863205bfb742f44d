"""From the config groups to models, adapters and the objective."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.objectives import MultiObjectiveLoss

PRIMARY = "lm"


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
    models: Mapping[str, FrozenModel], settings: Any, words: tuple[str, ...], cache_dir: Path
) -> dict[str, EmbeddingMap]:
    """An adapter from the primary model to every other: role -> map."""
    primary = models[PRIMARY]
    return {
        role: settings.fit(primary, model, words, cache_dir)
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
