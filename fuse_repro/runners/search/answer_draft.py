"""Objectives by some of the models: those that guide, judge and draft in a search for prompts of answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.objectives import AnswerTerm, MultiObjectiveLoss
from fuse_repro.runners.build import build
from fuse_repro.runners.search.answer_items import Drawn


@dataclass
class Few(Mapping[str, Any]):
    """The first examples of those that a search is judged by now, for every term that asks: name -> what it is given.

    Attributes:
        whole: the examples. When others are drawn, these change with them.
        count: how many; None for all.
    """

    whole: Drawn
    count: int | None

    def __getitem__(self, name: str) -> Any:
        examples = self.whole[name]
        return examples.only(range(len(examples))[: self.count])

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole)

    def __len__(self) -> int:
        return len(self.whole)


def objective_by(
    objective: MultiObjectiveLoss, models: Mapping[str, FrozenModel], roles: Sequence[str] | None, key: str
) -> MultiObjectiveLoss:
    """The objective without the answers of other models than those in `roles`; None keeps all of them.

    It is another object with the same terms, so that what it computes is no evaluation of the objective.

    Args:
        objective: of all models.
        models: by role.
        roles: of the models that are asked.
        key: of the config, where the roles stand, for messages.

    Raises:
        UsageError: no model in `roles` answers in the objective.
    """
    kept = [models[role] for role in (models if roles is None else roles)]
    asks = {name: term for name, term in objective.terms.items() if isinstance(term, AnswerTerm)}
    left_out = {name for name, term in asks.items() if not any(term.lm is model for model in kept)}
    allowed = "a model with an answer term of a weight above 0"
    require(len(left_out) < len(asks), key, list(roles or []), allowed)
    terms = {name: term for name, term in objective.terms.items() if name not in left_out}
    return MultiObjectiveLoss(terms, {name: objective.weights[name] for name in terms})


def check_roles(config: DictConfig) -> None:
    """Check which models guide, judge and draft, before anything is read or loaded.

    Raises:
        UsageError: a model that is not searched with, no model at all, or guides of a search without gradients.
    """
    runner = config.runner
    searched = [str(role) for role in config.models if role not in runner.unseen]
    known = f"null, or some of the models that are searched with: {', '.join(searched)}"
    for name in ("guides", "judges", "draft_models"):
        roles = runner[name]
        named = roles is None or (bool(roles) and set(roles) <= set(searched))
        require(named, f"runner.{name}", None if roles is None else list(roles), known)
    if runner.guides is not None:
        takes = build(config.optimizer).uses_gradients
        require(takes, "runner.guides", list(runner.guides), "null for an optimizer that takes no gradients")


def check_draft(config: DictConfig) -> None:
    """Check the draft's settings before anything is read or loaded.

    Raises:
        UsageError: a value out of range, a model that is not searched with, or, where `optimizer.probe` is given, a
            draft that costs as much as the objective.
    """
    runner, probe = config.runner, config.optimizer.get("probe")
    few, roles = runner.draft_examples, runner.draft_models
    require(few is None or few >= 1, "runner.draft_examples", few, "at least 1, or null for all")
    if probe is None:
        return
    searched = [str(role) for role in config.models if role not in runner.unseen]
    examples = runner.examples if config.target is None else 1
    fewer = few is not None and (examples is None or few < examples)
    cheaper = fewer or (roles is not None and set(roles) < set(searched))
    count = "all" if examples is None else examples
    need = (
        f"null, or a draft that costs less than the objective: runner.draft_examples below {count}, the examples of "
        f"the objective, or runner.draft_models={searched[:1]} of {', '.join(searched)}"
    )
    require(cheaper, "optimizer.probe", probe, need)
