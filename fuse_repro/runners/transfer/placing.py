"""Where the vectors of a soft prompt stand and how many there are: as settings or a task's template say."""

from collections.abc import Sequence
from dataclasses import dataclass

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import around, template_ids
from fuse_repro.runners.transfer.settings import TEMPLATE, PromptTuning
from fuse_repro.tasks.layout import Layout


@dataclass(frozen=True)
class Place:
    """The place of one soft prompt.

    Attributes:
        position: as SoftPrompt has it.
        length: m, how many vectors there are.
        ids: the m tokens of the template that stand there; none where the settings give the place.
    """

    position: str
    length: int
    ids: Sequence[int] = ()


def place_of(lm: FrozenModel, task: PromptTask, settings: PromptTuning) -> Place:
    """Where a prompt for a task stands in what a model reads.

    Raises:
        UsageError: `position=template` and a template whose words cannot be replaced by vectors.
    """
    if settings.position != TEMPLATE:
        assert settings.m is not None
        return Place(settings.position, settings.m)
    front, behind = template_ids(lm, task.template)
    return Place(around(len(front)), len(front) + len(behind), (*front, *behind))


def layout_of(lm: FrozenModel, task: PromptTask, settings: PromptTuning) -> Layout:
    """How the model reads the task's items with such a prompt. Raises UsageError as `place_of` does."""
    place = place_of(lm, task, settings)
    return Layout(lm, place.position, place.length, None, settings.max_text_tokens)
