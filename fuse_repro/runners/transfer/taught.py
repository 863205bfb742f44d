"""A moved prompt that learns from what the source answers to texts without labels: not quite zero-shot.

Close to POST (ICML 2025), which tunes on public texts so that the target answers as the source does. It takes some
hundred passes of the target. No right answer is used: the dev texts choose the best prompt by agreement, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from omegaconf import DictConfig

from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import SoftPrompt
from fuse_repro.runners.transfer.methods import Found, Moved, Setting
from fuse_repro.runners.transfer.tuning import tune

TAUGHT = ("train", "dev")  # the splits whose texts are read, without their answers


@dataclass(frozen=True)
class Taught:
    """A prompt that is moved, and then tuned on the target with the first source's answers for labels.

    Attributes:
        moved: how it is moved.
        setting: what all methods share.
        steps: of the tuning, at the most.
        trainer: the config of the run's Trainer.
    """

    moved: Moved
    setting: Setting
    steps: int
    trainer: DictConfig

    def tuned_models(self) -> Sequence[FrozenModel]:
        """All sources."""
        return self.moved.tuned_models()

    def prompt(self, task: PromptTask, seed: int) -> Found:
        """See Method. The notes say how often the prompt answers as the source does on the dev texts, at its end."""
        target, start, notes = self.moved.prompt(task, seed)
        assert isinstance(start, SoftPrompt)
        tuned = self.setting.tuned
        teacher = tuned.of(self.setting.first, task, seed)
        settings = replace(tuned.settings, seed=seed, max_steps=self.steps, keep_start=True, together=None)
        pupil = self._said(task, teacher)
        with torch.inference_mode(False):
            found = tune(target, pupil, settings, trainer=self.trainer, start=start)
        return target, found.prompt, {**notes, "agreement": found.dev_accuracy, "teaching_steps": found.steps}

    def _said(self, task: PromptTask, teacher: SoftPrompt) -> PromptTask:
        """The task with what the source answers in place of what is right."""
        exams, splits = self.setting.exams, dict(task.splits)
        for split in TAUGHT:
            said = exams.ask(self.setting.first, teacher, task, split).predictions
            texts = [item.text for item in task.splits[split]]
            splits[split] = tuple(Item(text, answer) for text, answer in zip(texts, said, strict=True))
        return replace(task, splits=splits)
