"""The tuned prompts that a table of transfers needs, each tuned once."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.progress import track
from fuse_repro.prompts import SoftPrompt
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.tuning import tuned_prompt
from fuse_repro.runs.observers import Observers

Key = tuple[int, str, int]


@dataclass
class TunedPrompts:
    """Prompts by model, task and seed; tuned when they are first asked for, or found in the cache.

    Attributes:
        settings: how they are tuned; the seed is replaced.
        cache: where they are kept.
        observers: told the loss of every step, and precision@1 on dev.
        trainer: the config of the run's Trainer.
    """

    settings: PromptTuning
    cache: Path
    observers: Observers
    trainer: DictConfig
    _known: dict[Key, SoftPrompt | UsageError] = field(default_factory=dict)

    def prepare(self, wanted: Iterable[tuple[FrozenModel, PromptTask, int]]) -> None:
        """Tune these; what cannot be tuned is an error where it is asked for, not here."""
        asked = {(id(model), task.digest, seed): (model, task, seed) for model, task, seed in wanted}
        missing = {key: parts for key, parts in asked.items() if key not in self._known}
        if not missing:
            return
        for key, (model, task, seed) in track(missing.items(), "tuning prompts"):
            watch = partial(self.observers.series, f"tuning/{model.name}/{task.name}/{seed}")
            settings = replace(self.settings, seed=seed)
            try:
                self._known[key] = tuned_prompt(model, task, settings, self.cache, watch, self.trainer)
            except UsageError as error:
                self._known[key] = error

    def of(self, model: FrozenModel, task: PromptTask, seed: int) -> SoftPrompt:
        """The model's own prompt for a task. Raises UsageError where it could not be tuned."""
        self.prepare([(model, task, seed)])
        found = self._known[id(model), task.digest, seed]
        if isinstance(found, UsageError):
            raise found
        return found
