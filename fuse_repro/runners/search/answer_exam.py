"""What a written prompt is worth: finalists asked on the development split, the best one on the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from statistics import fmean
from typing import Any

from fuse_repro.data.prompt_task import ANSWER, SUBJECT, PromptTask, shuffled
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.metering import unmetered
from fuse_repro.objectives.answer_template import PROMPT
from fuse_repro.search import Hypothesis
from fuse_repro.tasks import Evaluation, evaluate


def written(template: str, prompt: str) -> str:
    """The template with a prompt in its place: what `experiment=evaluate text=...` takes."""
    return " ".join(template.replace(PROMPT, prompt.strip()).split(" ")).strip()


def finalists(steps: Sequence[Sequence[Hypothesis]], best: Hypothesis, count: int) -> list[Hypothesis]:
    """The `count` best prompts of a search, each text once, best first; those that hold a mark are left out."""
    known: dict[str, Hypothesis] = {}
    for hypothesis in [best, *(h for beam in steps for h in beam)]:
        text = hypothesis.text.strip()
        if not any(mark in text for mark in (SUBJECT, ANSWER, PROMPT)):
            known.setdefault(text, hypothesis)
    return sorted(known.values(), key=lambda h: h.objective)[:count]


def asked(
    models: Mapping[str, FrozenModel], template: str, task: PromptTask, split: str
) -> dict[str, Evaluation]:
    """What every model answers by a written template: role -> what came of it.

    Raises:
        UsageError: a text that is too long for a model, or a split without an item.
    """
    return {role: evaluate(model, template, task, split) for role, model in models.items()}


def chosen(
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
            answers = asked(models, written(template, hypothesis.text), part, "dev")
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
