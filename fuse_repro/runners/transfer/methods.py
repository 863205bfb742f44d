"""The columns of a table of transfers: baselines, and maps that move prompts from the sources to the target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from fuse_repro.adapters import EmbeddingMap, RelativePromptTransfer
from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.metering import unmetered
from fuse_repro.models.precision import full_precision
from fuse_repro.prompts import SoftPrompt, for_model, normal_init
from fuse_repro.runners.build import Fit, map_class
from fuse_repro.runners.transfer.choosing import chosen_map
from fuse_repro.runners.transfer.placing import place_of
from fuse_repro.runners.transfer.prompts import TunedPrompts
from fuse_repro.runners.transfer.trace import dev_accuracy, matching_trace
from fuse_repro.tasks import Exams

BASELINES = ("random", "manual", "direct_tuning", "source_manual", "source_tuned")
Found = tuple[FrozenModel, SoftPrompt | str, dict[str, Any]]
Objective = Callable[[EmbeddingMap], MultiObjectiveLoss]


@dataclass(frozen=True)
class Setting:
    """What every column shares.

    Attributes:
        sources, target: the models, by role for the sources.
        tuned: the models' own prompts.
        words: that maps are fitted on; cache: where fitted maps are kept.
        trace_accuracy: whether precision@1 on dev is measured along a search.
        exams: what asks the questions.
    """

    sources: Mapping[str, FrozenModel]
    target: FrozenModel
    tuned: TunedPrompts
    words: tuple[str, ...]
    cache: Path
    trace_accuracy: bool = False
    exams: Exams = field(default_factory=Exams)

    @property
    def first(self) -> FrozenModel:
        """The first source, for the baselines that need one."""
        return next(iter(self.sources.values()))


class Method(Protocol):
    """One column of the table."""

    def tuned_models(self) -> Sequence[FrozenModel]:
        """The models whose own prompts it needs."""
        ...

    def prompt(self, task: PromptTask, seed: int) -> Found:
        """What reads the prompt, the prompt, and notes for the record. Raises UsageError where it has none."""
        ...


@dataclass(frozen=True)
class Baseline:
    """A prompt that was not moved; see BASELINES."""

    name: str
    setting: Setting

    def tuned_models(self) -> Sequence[FrozenModel]:
        """The one model whose tuned prompt this is, if any."""
        own = {"direct_tuning": self.setting.target, "source_tuned": self.setting.first}
        return [own[self.name]] if self.name in own else []

    def prompt(self, task: PromptTask, seed: int) -> Found:
        """See Method."""
        setting, settings = self.setting, self.setting.tuned.settings
        if self.name == "manual":
            return setting.target, task.template, {}
        if self.name == "source_manual":
            return setting.first, task.template, {}
        if self.name in ("direct_tuning", "source_tuned"):
            (model,) = self.tuned_models()
            with unmetered():
                return model, setting.tuned.of(model, task, seed), {}
        place = place_of(setting.target, task, settings)
        drawn = normal_init(setting.target, place.length, torch.Generator().manual_seed(seed))
        return setting.target, for_model(setting.target, drawn, place.position), {}


class Moved:
    """The sources' prompts, moved by a map that is fitted when the first one is to be moved.

    Args:
        fit: makes the map.
        objective: the shared loss that a map minimises where it searches; made for the fitted map.
        weights: of the sources' matches in it, for a calibration.
        setting: see Setting.
    """

    def __init__(self, fit: Fit, objective: Objective, weights: Sequence[float], setting: Setting) -> None:
        self._fit, self._objective, self._setting = fit, objective, setting
        self._weights = tuple(weights)
        self._fitted: EmbeddingMap | None = None

    def tuned_models(self) -> Sequence[FrozenModel]:
        """All sources."""
        return list(self._setting.sources.values())

    @torch.no_grad()
    def prompt(self, task: PromptTask, seed: int) -> Found:
        """See Method. Maps compute in their own precision, whatever the trainer's."""
        setting = self._setting
        with full_precision(setting.target.device):
            with unmetered():  # done once, and kept
                fitted = self._map()
                tuned = [setting.tuned.of(model, task, seed) for model in setting.sources.values()]
            own, position = [prompt.embeddings for prompt in tuned], _common_place(tuned)
            fitted, choice = chosen_map(fitted, setting.first, tuned[0], [task], setting.exams)
            notes = {} if choice is None else {"choice": choice.record()}
            if not isinstance(fitted, RelativePromptTransfer):
                return setting.target, for_model(setting.target, fitted.transfer(own[0]), position), notes
            rating = dev_accuracy(setting.target, task, position, setting.exams)
            result = fitted.solve(
                own, objective=self._objective(fitted), score=rating if setting.trace_accuracy else None
            )
        moved = for_model(setting.target, result.prompt, position)
        return setting.target, moved, {**notes, "matching": matching_trace(result)}

    def _map(self) -> EmbeddingMap:
        """The fitted map. Raises UsageError for several sources where it takes one."""
        if self._fitted is None:
            setting = self._setting
            sources = list(setting.sources.values())
            self._fitted = fit_map(
                self._fit, sources, setting.target, setting.words, setting.cache, self._weights
            )
        return self._fitted


def _common_place(prompts: Sequence[SoftPrompt]) -> str:
    """Where the prompts of several sources stand. Raises UsageError where their models cut a template differently."""
    places = {(prompt.position, prompt.length) for prompt in prompts}
    if len(places) > 1:
        shown = ", ".join(f"{prompt.length} of {prompt.model} ({prompt.position})" for prompt in prompts)
        raise UsageError(
            f"the sources' prompts have different numbers of vectors or places: {shown}; rows are matched one by one: "
            "take one source, or optimizer.position=postfix with optimizer.m"
        )
    return prompts[0].position


def fit_map(
    fit: Fit,
    sources: Sequence[FrozenModel],
    target: FrozenModel,
    words: Sequence[str],
    cache: Path | None,
    weights: Sequence[float],
    **more: Any,
) -> EmbeddingMap:
    """A map from one source, or from several where it takes several.

    Args:
        fit: of conf/adapter.
        sources: one model or more.
        target: where prompts go.
        words: what it is fitted on.
        cache: where fits are kept; None keeps nothing.
        weights: of the sources' matches.
        more: further arguments of the fit.

    Raises:
        UsageError: several sources where the map takes one.
    """
    owner = map_class(fit)
    if getattr(owner, "takes_several", False):
        return fit(sources, target, words, cache_dir=cache, weights=weights, **more)
    if len(sources) > 1:
        raise UsageError(
            f"{owner.__name__} moves prompts from one source only, and runner.sources has {len(sources)}: "
            "use a relative method, or one source"
        )
    return fit(sources[0], target, words, cache_dir=cache, **more)
