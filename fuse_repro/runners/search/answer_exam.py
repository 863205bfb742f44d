"""What a written prompt is worth: finalists asked on the development split, the best one on the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Any

from fuse_repro.data.prompt_task import ANSWER, SUBJECT, PromptTask, shuffled
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.metering import unmetered
from fuse_repro.objectives import AnswerTerm
from fuse_repro.objectives.answer_template import PROMPT
from fuse_repro.search import Hypothesis
from fuse_repro.tasks import Evaluation, answerable, evaluate
from fuse_repro.tasks.answers import NOT_ONE_TOKEN


def written(template: str, prompt: str) -> str:
    """The template with a prompt in its place: what `experiment=evaluate text=...` takes."""
    if prompt.strip():
        return template.replace(PROMPT, prompt.strip())
    for place in (f" {PROMPT}", f"{PROMPT} ", PROMPT):
        template = template.replace(place, "")
    return template


def finalists(steps: Sequence[Sequence[Hypothesis]], best: Hypothesis, count: int) -> list[Hypothesis]:
    """The `count` best prompts of a search, each text once, best first; those that hold a mark are left out.

    Raises:
        UsageError: none is left.
    """
    known: dict[str, Hypothesis] = {}
    for hypothesis in [best, *(h for beam in steps for h in beam)]:
        text = hypothesis.text.strip()
        if not any(mark in text for mark in (SUBJECT, ANSWER, PROMPT)):
            known.setdefault(text, hypothesis)
    if not known:
        raise UsageError(
            f"every prompt that was found holds one of the marks {SUBJECT}, {ANSWER} and {PROMPT}: take another seed"
        )
    return sorted(known.values(), key=lambda h: h.objective)[:count]


@dataclass(frozen=True)
class Asking:
    """How models are asked with a prompt in the end.

    Attributes:
        chat: whether their chat templates write what stands before an answer.
    """

    chat: bool = False

    def all(
        self, models: Mapping[str, FrozenModel], template: str, prompt: str, task: PromptTask, split: str
    ) -> dict[str, Evaluation]:
        """What every model answers: role -> what came of it.

        Args:
            models: by role.
            template: with [X] and [Y], and with {prompt} unless the prompt is empty.
            prompt: what stands there.
            task: what is asked.
            split: of the task.

        Raises:
            UsageError: a text that is too long for a model, or a split without an item.
        """
        if self.chat:
            return {role: _chat(model, template, prompt, task, split) for role, model in models.items()}
        text = written(template, prompt)
        return {role: evaluate(model, text, task, split) for role, model in models.items()}

    def can_be_asked(self, task: PromptTask, template: str, models: Sequence[FrozenModel]) -> PromptTask:
        """The task with the answers that every model can give.

        Raises:
            UsageError: no item is left to test, or an answer that the task's `multi_token` does not allow.
        """
        task = answerable(task, models)
        if not self.chat:
            return task
        single = set(task.answers)
        for model in models:
            place = AnswerTerm(task.name, model, template=template, chat=True).template
            ids = place.encode_answers(model.tokenizer, task.answers)
            single &= {word for word, pieces in zip(task.answers, ids, strict=True) if len(pieces) == 1}
        return task.only(single, NOT_ONE_TOKEN)


def _chat(model: FrozenModel, template: str, prompt: str, task: PromptTask, split: str) -> Evaluation:
    """As `evaluate`, in the model's chat template."""
    own = template if PROMPT in template else template.replace(ANSWER, f"{PROMPT} {ANSWER}")
    term = AnswerTerm(task.name, model, template=own, chat=True, candidates="answers")
    items = task.splits[split]
    values = term.choices(prompt, term.target(items, task.answers)).cpu()
    right = [[task.answers.index(word) for word in item.right] for item in items]
    return Evaluation.of(task.name, values, right, task.answers)


def chosen(
    asking: Asking,
    models: Mapping[str, FrozenModel],
    template: str,
    found: Sequence[Hypothesis],
    task: PromptTask,
    items: int | None,
    seed: int,
) -> tuple[Hypothesis, list[dict[str, Any]]]:
    """The finalist that most development items are answered by, the models' shares counting alike.

    Of equals the one with the lower loss is taken. Without development items the first one is.

    Args:
        asking: how models are asked.
        models: that a prompt is searched for, by role.
        template: with {prompt}.
        found: the finalists.
        task: whose development split is asked.
        items: how many items at the most; None for all.
        seed: of which items.

    Returns:
        The best one, and a row of every finalist for the record.
    """
    split = shuffled(task.splits["dev"], seed)[:items]
    if not split or len(found) < 2:
        return found[0], []
    part = replace(task, splits={**task.splits, "dev": tuple(split)})
    rows, ranks = [], []
    with unmetered():  # the search's own cost is what searches are compared by
        for hypothesis in found:
            answers = asking.all(models, template, hypothesis.text, part, "dev")
            shares = {role: one.accuracy for role, one in answers.items()}
            rows.append({"text": hypothesis.text, "objective": hypothesis.objective, "dev": shares})
            ranks.append((-fmean(shares.values()), fmean(one.loss for one in answers.values())))
    return found[min(range(len(found)), key=ranks.__getitem__)], rows


def figures(found: Evaluation) -> dict[str, Any]:
    """What a record says of one prompt on one model."""
    return {
        "accuracy": found.accuracy,
        "loss": found.loss,
        "items": found.items,
        "candidates": found.candidates,
    }


def samples(
    answers: Mapping[str, Evaluation], task: PromptTask, split: str, count: int
) -> list[dict[str, Any]]:
    """What every model answered to the first items of a split."""
    rows = zip(task.splits[split], *(one.predictions for one in answers.values()), strict=True)
    return [
        {"text": item.text, "right": list(item.right), "said": dict(zip(answers, said, strict=True))}
        for item, *said in islice(rows, count)
    ]
