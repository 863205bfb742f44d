"""The tuned prompts that a table of transfers needs, each tuned once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.progress import bar
from fuse_repro.prompts import SoftPrompt
from fuse_repro.runners.transfer.joint import Wanted, tuned_together
from fuse_repro.runners.transfer.kept import TuningResult
from fuse_repro.runners.transfer.settings import TEMPLATE, PromptTuning
from fuse_repro.runners.transfer.trainer import together
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
        new: dict[Key, tuple[FrozenModel, Wanted]] = {}
        for model, task, seed in wanted:
            key = (id(model), task.digest, seed)
            watch = partial(self.observers.series, f"tuning/{model.name}/{task.name}/{seed}")
            if key not in self._known:
                new[key] = (model, Wanted(task, replace(self.settings, seed=seed), watch))
        if not new:
            return
        with bar("tuning prompts", len(new)) as advance:
            for keys in self._groups(new):
                model = new[keys[0]][0]
                found = tuned_together(model, [new[key][1] for key in keys], self.cache, self.trainer)
                for key, outcome in zip(keys, found, strict=True):
                    self._known[key] = outcome.prompt if isinstance(outcome, TuningResult) else outcome
                advance(len(keys))

    def _groups(self, new: Mapping[Key, tuple[FrozenModel, Wanted]]) -> Iterator[list[Key]]:
        """Prompts of one model each, as many as are tuned together."""
        waiting: dict[tuple[int, str], list[Key]] = {}
        for key, (model, one) in new.items():
            how = together(self.settings, model.device, self.trainer)
            alone = how.of_one_task or self.settings.position == TEMPLATE  # else their lengths may differ
            company = (id(model), one.task.digest if alone else "")
            group = waiting.setdefault(company, [])
            group.append(key)
            if len(group) == how.most:
                yield waiting.pop(company)
        yield from waiting.values()

    def of(self, model: FrozenModel, task: PromptTask, seed: int) -> SoftPrompt:
        """The model's own prompt for a task. Raises UsageError where it could not be tuned."""
        self.prepare([(model, task, seed)])
        found = self._known[id(model), task.digest, seed]
        if isinstance(found, UsageError):
            raise found
        return found
