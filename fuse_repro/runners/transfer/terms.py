"""The terms of a transfer's objective, as its config has them."""

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig

from fuse_repro.adapters import EmbeddingMap, RelativePromptTransfer
from fuse_repro.errors import UsageError, require
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.assemble import corpus_words
from fuse_repro.runners.build import build_fit, map_class
from fuse_repro.runners.objective import build_objective, expanded_terms, term_weights
from fuse_repro.weights import cache_folder


def objective_terms(config: DictConfig) -> dict[str, DictConfig]:
    """Name -> config of the terms that count."""
    nodes = expanded_terms(config.objective)
    return {name: nodes[name] for name in term_weights(config.objective)}


def match_weights(config: DictConfig) -> list[float]:
    """The weight of every source's match, in the order of runner.sources.

    Raises:
        UsageError: a source without a match.
    """
    weights, nodes = term_weights(config.objective), expanded_terms(config.objective)
    of_role = {nodes[n].model: w for n, w in weights.items() if is_match(nodes[n])}
    lacking = [role for role in config.runner.sources if role not in of_role]
    require(not lacking, "objective", list(weights), f"one with a match of {', '.join(lacking)}, a source")
    return [float(of_role[role]) for role in config.runner.sources]


def roles_of(config: DictConfig) -> list[str]:
    """The models of a run: sources, target, and those of the objective's further terms."""
    terms = expanded_terms(config.objective)
    further = [terms[name].model for name in term_weights(config.objective)]
    return [*dict.fromkeys([*config.runner.sources, config.runner.target, *further])]


def objective_of(
    config: DictConfig, models: Mapping[str, FrozenModel], fitted: EmbeddingMap
) -> MultiObjectiveLoss:
    """The objective's terms: matches through the fitted map, further ones through maps from the target."""
    target = config.runner.target
    adapters: dict[str, EmbeddingMap] = dict.fromkeys(config.runner.sources, fitted)
    further = {term.model for term in expanded_terms(config.objective).values()} - {target, *adapters}
    if further and config.adapter is not None:
        fit, words = build_fit(config.adapter), corpus_words(config)
        cache = cache_folder(config.cache_dir)
        for role in sorted(further):
            adapters[role] = fit(models[target], models[role], words, cache_dir=cache)
    with torch.no_grad():
        return build_objective(config.objective, models, adapters, primary=target)


def check_objective(name: str, fit: Any, terms: Mapping[str, DictConfig]) -> None:
    """Raise UsageError where a map minimises an objective that its solver cannot take.

    Args:
        name: the key of the map in the config.
        fit: what makes its map, as a partial.
        terms: name -> config of the terms that count.
    """
    if is_relative(fit):
        said = fit.keywords.get("weights")
        require(said is None, f"{name}.weights", said, "null: objective.match.weight weighs the sources")
        others = [term for term, node in terms.items() if not is_match(node)]
        solver = fit.keywords.get("solver", "closed_form")
        if others and solver == "closed_form":
            raise UsageError(
                f"{name}.solver=closed_form cannot minimise the objective's {', '.join(others)}: it solves "
                f"relative matches alone; set {name}.solver=adam, or drop the term"
            )


def is_match(node: DictConfig) -> bool:
    """Whether a term's config is that of a relative match."""
    return str(node["_target_"]).endswith(".RelativeMatchTerm")


def is_relative(fit: Any) -> bool:
    """Whether a fit makes a map that matches relative representations."""
    owner = map_class(fit)
    return isinstance(owner, type) and issubclass(owner, RelativePromptTransfer)
