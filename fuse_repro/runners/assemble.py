"""From the config groups to models, adapters and the objective."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_type_hints

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import MultiObjectiveLoss
from fuse_repro.runners.trainer import PREDICT, check_one_process, check_trainer
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.search import Optimizer
from fuse_repro.weights import cache_folder

PRIMARY = "lm"
CAUSAL = "a causal language model, such as smollm2_135m"


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


def part_values(config: DictConfig, part: str) -> dict[str, Any]:
    """The resolved config of one part of a run that has several, which stand below its runner."""
    values = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    return values | {"runner": values["runner"][part]}


def build_trainer(
    node: DictConfig,
    *loops: str,
    root: Path | None = None,
    callbacks: Sequence[Callback] = (),
    **own: Any,
) -> Trainer:
    """The one Lightning trainer of a run, with everything that its config asks for.

    Args:
        node: the config, `_target_` and the Trainer's arguments; callbacks, loggers and the like are nodes in it.
        loops: those that the run uses, of "fit", "test" and "predict"; what acts in none of them is refused. None
            given: whatever is set is taken.
        root: where Lightning writes what it is asked to write; the run's directory.
        callbacks: the runner's, which come after those of the config.
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
        make = build(node, _partial_=True, _convert_="all")
        given = make.keywords.get("callbacks") or []
        listed = [*(given if isinstance(given, list) else [given]), *callbacks]
        for callback in listed:
            makes = isinstance(callback, Callback)
            require(
                makes, "trainer.callbacks", callback, "a list of {_target_: A CALLBACK OF LIGHTNING, ...}"
            )
        trainer: Trainer = make(**own | {"callbacks": listed})
    except UsageError:
        raise
    except (InstantiationException, MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"trainer: {' '.join(str(error.__cause__ or error).split())}") from error
    check_one_process(trainer, values)
    return trainer


def term_weights(objective: DictConfig) -> dict[str, float]:
    """Name -> weight of the terms that count. Raises UsageError for a negative weight or no term at all."""
    weights = {str(name): term.weight for name, term in objective.items()}
    for name, weight in weights.items():
        require(weight >= 0, f"objective.{name}.weight", weight, "at least 0 (0 drops the term)")
    used = {name: weight for name, weight in weights.items() if weight > 0}
    require(bool(used), "objective weights", weights, "at least one must be above 0")
    return used


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
    optimizer, adapter, corpus = build(config.optimizer), build(config.adapter), build(config.corpus)
    term_weights(config.objective)
    check_kind(config, PRIMARY, CausalLM, "models.lm", CAUSAL)
    trainer = build_trainer(config.trainer, PREDICT, root=directory.path)
    data = build(config.dataset)
    data.setup("predict")
    device = trainer.strategy.root_device
    models = load_models(config, device)
    lm = models[PRIMARY]
    require(isinstance(lm, CausalLM), "models.lm", lm.name, CAUSAL)
    check(models)
    files = {role: model.weights.files for role, model in models.items() if model.weights is not None}
    directory.open(device=str(device), weights=files)
    begun = time.perf_counter()
    adapters = {}
    if optimizer.uses_gradients:
        adapters = fit_adapters(models, adapter, corpus.words(), cache_folder(config.cache_dir))
    fit_seconds = time.perf_counter() - begun
    return PromptSearchParts(data, trainer, optimizer, cast(CausalLM, lm), models, adapters, fit_seconds)
