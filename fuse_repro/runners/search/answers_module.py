"""A written prompt for every task, by which several models answer: Lightning's predict loop."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from omegaconf import DictConfig
from torch import nn

from fuse_repro.data.prompt_task import SUBJECT, PromptTask, shuffled
from fuse_repro.metrics.statistics import nested_interval
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.metering import unmetered
from fuse_repro.objectives import MultiObjectiveLoss
from fuse_repro.objectives.answer_template import PROMPT
from fuse_repro.runners.search.answer_draft import Few, objective_by
from fuse_repro.runners.search.answer_exam import Asking, chosen, figures, finalists, samples, written
from fuse_repro.runners.search.answer_items import AnswerItem, Drawn
from fuse_repro.runners.search.module import PromptSearchModule, done_records, summarise
from fuse_repro.runners.search.said import said
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.search import Hypothesis, Optimizer, PromptProblem, SearchResult

CONTEXTS = 12  # texts that prompts are drawn behind
FOUND, MANUAL, NOTHING = "found", "manual", "none"  # the prompts that are asked in the end
BASELINES = (MANUAL, NOTHING)


class AnswerSearchModule(PromptSearchModule):
    """Searches one prompt for every task, takes the best on its development split, and asks the test split with it.

    Args:
        unseen: the models that are only asked in the end, by role.
        runner: as in conf/runner/answers.yaml.
        seed: of the examples.

    Raises:
        UsageError: no model that guides, judges or drafts has answers in the objective.
    """

    def __init__(
        self,
        lm: CausalLM,
        models: Mapping[str, FrozenModel],
        objective: MultiObjectiveLoss,
        optimizer: Optimizer,
        directory: RunDirectory,
        *,
        unseen: Mapping[str, FrozenModel],
        runner: DictConfig,
        seed: int,
    ) -> None:
        super().__init__(lm, models, objective, optimizer, runner.prefix, directory)
        self.unseen = nn.ModuleDict(unseen)
        self.runner, self.seed = runner, seed
        self._searched_with, self._unseen = dict(models), dict(unseen)
        self._drawn: list[Drawn] = []
        self._asking = Asking(runner.chat)
        # In a dict, since their terms are those of the objective.
        self._by = {
            name: objective_by(objective, models, runner[name], f"runner.{name}")
            for name in ("guides", "judges", "draft_models")
        }

    def measure(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Counts, objective, and how often every model answers right."""
        return measured(records, self.runner.split)

    def _search_waiting(self) -> None:
        self._drawn = []
        super()._search_waiting()

    def _stepped(self, beam: Sequence[Hypothesis]) -> None:
        """After a step, other examples, if they are drawn anew for each."""
        if self.runner.draw == "step":
            for drawn in self._drawn:
                drawn.redraw()

    def _targets(self, item: AnswerItem) -> Mapping[str, Any]:
        drawn = Drawn(self.objective, item, self.runner.examples, self.seed)
        self._drawn.append(drawn)
        return drawn

    def _problem(self, item: AnswerItem) -> PromptProblem:
        """As of any item, and with a draft; a prompt is drawn behind the texts of examples that stand before it."""
        before = self.runner.template.partition(PROMPT)[0]
        contexts: list[str] = []
        if before.strip() and not self.runner.chat:
            texts = dict.fromkeys(example.text for example in shuffled(item.examples, self.seed))
            contexts = [before.replace(SUBJECT, text).strip() for text in texts][:CONTEXTS]
        whole = replace(super()._problem(item), contexts=contexts)
        few = Few(self._drawn[-1], self.runner.draft_examples)
        draft = replace(whole, objective=self._by["draft_models"], targets=few)
        if self.runner.guides is None and self.runner.judges is None:
            return replace(whole, draft=draft)
        guide = replace(whole, objective=self._by["guides"])
        return replace(whole, objective=self._by["judges"], draft=draft, guide=guide)

    def _sought(self, item: AnswerItem) -> dict[str, Any]:
        target = {} if item.task is not None else {"target": item.examples[0].answer}
        return {"task": item.id, "label": item.label, **target}

    def _origin(self, item: AnswerItem) -> dict[str, Any]:
        return {}

    def _record(self, item: AnswerItem, found: SearchResult) -> dict[str, Any]:
        best = finalists(found.steps, found.best, self.runner.finalists)
        models = self._searched_with | self._unseen
        more: dict[str, Any] = {
            "models": {role: model.name for role, model in models.items()},
            "unseen": list(self._unseen),
        }
        if item.task is None:
            taken, more["finalists"] = best[0], []
            template, chat = self.runner.template, self.runner.chat
            more["said"] = said(models, template, chat, taken.text, item.examples[0])
        else:
            taken, more["finalists"] = self._chosen(best, item.task)
            more |= self._asked(models, taken.text, item.task)
        record = super()._record(item, replace(found, best=taken))
        return record | {"template": written(self.runner.template, taken.text)} | more

    def _chosen(
        self, best: Sequence[Hypothesis], task: PromptTask
    ) -> tuple[Hypothesis, list[dict[str, Any]]]:
        """The best on the development split, and a row of every finalist."""
        runner = self.runner
        asked = (self._asking, self._searched_with, runner.template, best, task)
        return chosen(*asked, runner.dev_items, self.seed)

    def _asked(self, models: Mapping[str, FrozenModel], text: str, task: PromptTask) -> dict[str, Any]:
        """Right answers of all models by the prompt that was found and by those that need no search."""
        template, split = self.runner.template, self.runner.split
        given = {MANUAL: (task.template, ""), NOTHING: (template, "")}
        prompts = {FOUND: (template, text)}
        prompts |= {name: given[name] for name in map(str, self.runner.baselines)}
        with unmetered():  # the search's own cost is what searches are compared by
            answers = {
                name: self._asking.all(models, *prompt, task, split) for name, prompt in prompts.items()
            }
        shares = {name: {role: figures(one) for role, one in own.items()} for name, own in answers.items()}
        return {
            "prompts": shares,
            "samples": samples(answers[FOUND], task, split, self.runner.shown),
            "dropped": dict(task.dropped),
        }


def measured(records: Sequence[Mapping[str, Any]], split: str) -> dict[str, Any]:
    """What results.json holds of prompts of answers. Raises UsageError where none was found.

    Per prompt and model the mean precision@1 over tasks with its 95% interval, and the mean over the models that a
    prompt was searched for.
    """
    done = done_records(records, "no prompt was found")
    summary = {"runner": "answers", "split": split, **summarise(records)}
    tasks = [record for record in done if "prompts" in record]
    if not tasks:
        return summary
    models, unseen = tasks[0]["models"], tasks[0]["unseen"]
    found: dict[str, Any] = {}
    for name in tasks[0]["prompts"]:
        shares = {role: [r["prompts"][name][role]["accuracy"] for r in tasks] for role in models}
        searched = [values for role, values in shares.items() if role not in unseen]
        shares["mean"] = [fmean(values) for values in zip(*searched, strict=True)]
        found[name] = {role: interval(values) for role, values in shares.items()}
    return summary | {"models": models, "unseen": unseen, "prompts": found}


def interval(values: Sequence[float]) -> dict[str, Any]:
    """The mean of the tasks' values and its 95% interval."""
    found = nested_interval([[value] for value in values])
    return {"mean": found.mean, "low": found.low, "high": found.high}
