"""From the `objective` of a config to the shared loss: terms, their weights and the roles of their models."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf

from fuse_repro.adapters import EmbeddingMap, IdentityMap
from fuse_repro.errors import UsageError, require
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.build import build, located
from fuse_repro.runners.roles import PRIMARY
from fuse_repro.runners.values import check_value


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
    for name, term in objective.items():
        key = str(name)
        _need_keys(key, term, ("_target_", "weight"))
        for weight in term.weight if isinstance(term.weight, ListConfig) else [term.weight]:
            check_value(f"objective.{key}.weight", weight, float)
            require(weight >= 0, f"objective.{key}.weight", weight, "at least 0 (0 drops the term)")
    weights = {name: term.weight for name, term in expanded_terms(objective).items()}
    used = {name: weight for name, weight in weights.items() if weight > 0}
    keys = ", ".join(f"objective.{name}.weight" for name in weights) or "objective"
    require(bool(used), keys, list(weights.values()), "at least one must be above 0")
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
        primary: the role of the model whose prompts are looked for. A term of this model that takes
            `lm` is given it; any other is given its `name`, its model as `encoder` and the `adapter` of its role. The
            primary model's own is the identity, unless `adapters` has another one.
    """
    weights, nodes = term_weights(node), expanded_terms(node)
    adapters = {primary: IdentityMap(models[primary]), **adapters} if primary in models else adapters
    terms = {}
    for name in weights:
        settings = {key: value for key, value in nodes[name].items() if key not in ("model", "weight")}
        role = nodes[name].model
        parts: dict[str, Any] = {"name": name, "encoder": models[role], "adapter": adapters.get(role)}
        if (
            role == primary
            and "lm" in signature(located(nodes[name]._target_, f"objective.{name}")).parameters
        ):
            parts = {"lm": models[role]}
        terms[name] = build(DictConfig(settings, key=name, parent=node), **parts)
    return MultiObjectiveLoss(terms, weights)
