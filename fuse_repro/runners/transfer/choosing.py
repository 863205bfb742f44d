"""What `adapter=auto` asks the source: its development items, with a prompt that has been to the target and back."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean

from torch import Tensor

from fuse_repro.adapters import AutoMap, Choice, EmbeddingMap
from fuse_repro.adapters.auto.choice import Rating
from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import SoftPrompt
from fuse_repro.runners.build import Fit
from fuse_repro.tasks import Exams


def chosen_map(
    fitted: EmbeddingMap, source: FrozenModel, prompt: SoftPrompt, tasks: Sequence[PromptTask], exams: Exams
) -> tuple[EmbeddingMap, Choice | None]:
    """The map that shall move a prompt: the given one, or the one that `auto` chooses, with its reasons.

    Args:
        fitted: from the source to the target.
        source: the prompt's own model.
        prompt: to be moved.
        tasks: what the prompt is for; their development items are asked.
        exams: what asks the questions.

    Raises:
        UsageError: `auto` has nothing to choose by.
    """
    if not isinstance(fitted, AutoMap):
        return fitted, None
    choice = fitted.choose(prompt.embeddings, source_rating(source, prompt, tasks, exams))
    return fitted.maps[choice.chosen], choice


def fit_in_use(fit: Fit, fitted: EmbeddingMap, choice: Choice | None) -> Fit:
    """The fit of the map that moves the prompt: the given one, or that of the candidate that was chosen."""
    if choice is None or not isinstance(fitted, AutoMap):
        return fit
    found = fitted.fits[choice.chosen]
    return found if isinstance(found, partial) else partial(found)


def source_rating(
    source: FrozenModel, prompt: SoftPrompt, tasks: Sequence[PromptTask], exams: Exams
) -> Rating | None:
    """Rates vectors in the prompt's place by the source's development items; None where no task has any.

    Precision@1 and the loss are the means over tasks, each counting once.
    """
    asked = [task for task in tasks if task.splits["dev"]]
    if not asked:
        return None

    def rating(vectors: Tensor) -> tuple[float, float]:
        own = replace(prompt, embeddings=vectors)
        found = [exams.ask(source, own, task, "dev") for task in asked]
        return fmean(one.accuracy for one in found), fmean(one.loss for one in found)

    return rating
