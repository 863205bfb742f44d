"""From the config groups to models, adapters and the objective."""

import inspect
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast, get_type_hints

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue
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
Fit = partial[EmbeddingMap]
CAUSAL = "a causal language model, such as smollm2_135m"


def build(node: DictConfig, *arguments: Any, **more: Any) -> Any:
    """Instantiate a config node; a user's mistake comes out as the UsageError that it is."""
    try:
        return instantiate(node, *arguments, **more)
    except MissingMandatoryValue as error:
        raise UsageError(f"{error.full_key} has no value: give it one with {error.full_key}=...") from error
    except InstantiationException as error:
        if str(error).startswith(("Error locating target", "Expected a callable target")):
            raise UsageError(_no_target(error)) from error
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from error
        if isinstance(error.__cause__, TypeError):
            raise UsageError(
                f"{node.get('_target_')} cannot be made from these values: {error.__cause__}"
            ) from error
        raise


def located(target: str, key: str) -> Any:
    """The class or function of this name; `key` is where the config names it.

    Raises:
        UsageError: if it cannot be imported, or is nothing that can be called.
    """
    return build(DictConfig({"_target_": target, "_partial_": True}, key=key)).func


def _no_target(error: InstantiationException) -> str:
    """One line about a `_target_` that is no class or function: its key, where Hydra knows it, and the reason."""
    key = re.search(r"^full_key: (\S+)", str(error), re.MULTILINE)
    named = re.search(r"'([^']*)'", str(error))
    target = f"{key[1]}._target_" if key else "_target_"
    reason = " ".join(str(error.__cause__ or "it cannot be called").split())
    return (
        f"{target}={named[1] if named else None} cannot be used ({reason}): give the full name of a class or function; "
        "a file of your own must be on PYTHONPATH"
    )


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


PARTED = ("runner", "dataset", "optimizer", "objective")


def part_values(config: DictConfig, part: str) -> dict[str, Any]:
    """The resolved config of one part of a run that has several, such as the captions of a table of maps.

    Its values stand below the part's name in each of PARTED; the other groups serve all parts.
    """
    values = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    return values | {group: values[group][part] for group in PARTED}


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


def expanded_terms(objective: DictConfig) -> dict[str, DictConfig]:
    """Name -> config of every term; a term whose `model` is a list of roles stands for one term of each.

    Its `weight` is then one number for all, or a list with one for each; the terms are called NAME_ROLE, or just NAME
    where the list has one role. Raises UsageError for other weights.
    """
    terms: dict[str, DictConfig] = {}
    for key, node in objective.items():
        name, roles = str(key), node.get("model") if isinstance(node, DictConfig) else None
        if not isinstance(roles, ListConfig):
            terms[name] = node
            continue
        weights = list(node.weight) if isinstance(node.weight, ListConfig) else [node.weight] * len(roles)
        fits = len(weights) == len(roles)
        require(
            fits, f"objective.{name}.weight", weights, f"one number, or one for each of {', '.join(roles)}"
        )
        for role, weight in zip(roles, weights, strict=True):
            own = name if len(roles) == 1 else f"{name}_{role}"
            terms[own] = cast(DictConfig, OmegaConf.merge(node, {"model": role, "weight": weight}))
    return terms


def objectives_of(node: DictConfig | None) -> list[DictConfig]:
    """The objectives of a run: one, or one of every part where the run has parts."""
    if node is None:
        return []
    whole = any(isinstance(term, DictConfig) and "_target_" in term for term in node.values())
    return [node] if whole or not node else list(node.values())


def term_weights(objective: DictConfig) -> dict[str, float]:
    """Name -> weight of the terms that count. Raises UsageError for a negative weight or no term at all."""
    nodes = expanded_terms(objective)
    for name, term in nodes.items():
        _need_keys(name, term, ("_target_", "weight"))
    weights = {name: term.weight for name, term in nodes.items()}
    for name, weight in weights.items():
        require(weight >= 0, f"objective.{name}.weight", weight, "at least 0 (0 drops the term)")
    used = {name: weight for name, weight in weights.items() if weight > 0}
    require(bool(used), "objective weights", weights, "at least one must be above 0")
    return used


def term_roles(objective: DictConfig) -> dict[str, str]:
    """Name -> role of the model of the terms that count.

    Raises:
        UsageError: for a term without a model or with a `_target_` that cannot be imported, and as `term_weights` does.
    """
    roles, nodes = {}, expanded_terms(objective)
    for name in term_weights(objective):
        _need_keys(name, nodes[name], ("model",))
        located(nodes[name]._target_, f"objective.{name}")
        roles[name] = str(nodes[name].model)
    return roles


def _need_keys(name: Any, term: Any, keys: Sequence[str]) -> None:
    missing = [key for key in keys if not isinstance(term, DictConfig) or key not in term]
    if missing:
        raise UsageError(
            f"objective.{name} has no {' and no '.join(missing)}: a term has _target_ (its class), model (one of the "
            "roles in models, such as lm) and weight"
        )


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
    roles = {PRIMARY, *term_roles(config.objective).values()}
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
    node: DictConfig,
    models: Mapping[str, FrozenModel],
    adapters: Mapping[str, EmbeddingMap],
    primary: str = PRIMARY,
) -> MultiObjectiveLoss:
    """The weighted sum of the terms of `node` that count, each with its model and adapter.

    Args:
        node: as in conf/objective.
        models: role -> model.
        adapters: role -> the map between the primary model and that of the role.
        primary: the role of the model whose prompts are looked for. A term of this model is given `lm`; any other is
            given its `name`, its model as `encoder` and the `adapter` of its role.
    """
    weights, nodes = term_weights(node), expanded_terms(node)
    terms = {}
    for name in weights:
        settings = {key: value for key, value in nodes[name].items() if key not in ("model", "weight")}
        role = nodes[name].model
        parts: dict[str, Any] = {"lm": models[role]}
        if role != primary:
            parts = {"name": name, "encoder": models[role], "adapter": adapters.get(role)}
        terms[name] = build(DictConfig(settings, key=name, parent=node), **parts)
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
    term_roles(config.objective)
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
    if optimizer.uses_gradients and fit is not None:
        adapters = fit_adapters(models, fit, corpus.words(), cache_folder(config.cache_dir))
    fit_seconds = time.perf_counter() - begun
    return PromptSearchParts(data, trainer, optimizer, cast(CausalLM, lm), models, adapters, fit_seconds)
