"""Precision@1 of a prompt on a task, and its means over relations and over facts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor

from fuse_repro.data.prompt_task import SPLITS, PromptTask
from fuse_repro.errors import UsageError, require
from fuse_repro.metrics.precision import PrecisionAtOne, RelationPrecision
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.metering import unmetered
from fuse_repro.prompts import SoftPrompt, for_model
from fuse_repro.tasks.answers import NOT_ONE_TOKEN, Answers, credited, right_table
from fuse_repro.tasks.layout import Layout
from fuse_repro.tasks.predict import answer_log_probs
from fuse_repro.tasks.reader import Reader, make_reader, reader_log_probs
from fuse_repro.tasks.whole_words import WholeWordReader

FREE = ("N/A", "something", "it")  # texts that say nothing about any answer


@dataclass(frozen=True)
class Evaluation:
    """What a prompt gets right on one split of one task.

    Attributes:
        task: its name.
        accuracy: precision@1, the share of `items` whose most probable candidate is an answer.
        hits: for each of the items that have an answer of one token, in order.
        predictions: the most probable candidate of each of them.
        loss: mean -log p(answer) among the candidates, in nats; of several right answers their sum counts.
        candidates: how many the model chooses from.
        skipped: why items were not asked, and how many; they count neither as right nor as wrong.
        cut: how many texts were shortened.
        calibrated: the accuracy where every candidate's prior is taken out (contextual calibration); None where that
            was not asked for.
    """

    task: str
    accuracy: float
    hits: tuple[bool, ...]
    predictions: tuple[str, ...]
    loss: float
    candidates: int
    skipped: dict[str, int]
    cut: int
    calibrated: float | None = None

    @classmethod
    def of(
        cls,
        task: str,
        log_probs: Tensor,
        right: Sequence[Sequence[int]],
        words: Sequence[str],
        skipped: dict[str, int] | None = None,
        cut: int = 0,
        counter: RelationPrecision | None = None,
    ) -> "Evaluation":
        """Of what a model gives to every candidate; ties go to the earlier one.

        Args:
            task: its name.
            log_probs: [N, A], in nats, of the A candidates for each of N items.
            right: the numbers of every item's right candidates, at least one.
            words: of the candidates.
            skipped: see Evaluation.
            cut: see Evaluation.
            counter: counts these items as well, under the task's name.
        """
        table = right_table(right, len(words), log_probs.device)
        first = torch.tensor([numbers[0] for numbers in right], device=log_probs.device)
        gold = credited(log_probs, first, table)
        precision = PrecisionAtOne(len(words)).to(log_probs.device)
        precision.update(log_probs, gold)
        if counter is not None:
            counter.update(task, log_probs, gold)
        best = log_probs.argmax(dim=1).tolist()
        return cls(
            task=task,
            accuracy=float(precision.compute()),
            hits=tuple(one in numbers for one, numbers in zip(best, right, strict=True)),
            predictions=tuple(words[number] for number in best),
            loss=-fmean(
                log_probs[row, list(numbers)].logsumexp(0).item() for row, numbers in enumerate(right)
            ),
            candidates=len(words),
            skipped=skipped or {},
            cut=cut,
        )

    @property
    def items(self) -> int:
        """How many items were asked."""
        return len(self.hits)

    @property
    def accuracy_counting_skipped(self) -> float:
        """Precision@1 where items without an answer of one token count as wrong."""
        return sum(self.hits) / (self.items + sum(self.skipped.values()))


class Exam:
    """One split of a task, ready to be asked with any prompt of one layout.

    What does not depend on the prompt is computed once. Many prompts then cost little more than their own
    tokens; see `make_reader`.

    Args:
        layout: how the model reads a soft or a manual prompt.
        task: answers that are not one token of the model are no candidates, and items with such an answer are
            counted in `skipped`.
        split: `train`, `dev` or `test`.
        calibrated: also ask with texts that say nothing, for contextual calibration (Zhao et al. 2021, arXiv
            2102.09690): what a candidate has there on the average is its prior, which needs no label.

    Raises:
        UsageError: a text that is too long, or a split without an item that can be asked.
    """

    def __init__(
        self, layout: Layout, task: PromptTask, split: str = "test", calibrated: bool = False
    ) -> None:
        require(split in SPLITS, "split", split, f"one of {', '.join(SPLITS)}")
        self.layout, self.task = layout, task.name
        self._answers = answers = Answers.of(layout.lm, task.answers, task.multi_token)
        asked = answers.asked(task.splits[split])
        self._skipped = len(task.splits[split]) - len(asked)
        if not asked:
            raise UsageError(
                f"{task.name} has no {split} item whose answer is one token of {layout.lm.name} "
                f"({self._skipped} have several tokens)"
            )
        self._right = [right for _, right in asked]
        self._rows = layout.rows([*(item.text for item, _ in asked), *(FREE if calibrated else ())])
        self._reader: Reader | None = None
        if answers.pieces is not None:
            self._reader = WholeWordReader(layout.lm, self._rows, answers.pieces)
        elif layout.length:
            self._reader = make_reader(layout, self._rows)

    def ask(
        self, prompt: Tensor | None = None, batch_size: int = 64, counter: RelationPrecision | None = None
    ) -> Evaluation:
        """Ask every item; ties go to the earlier candidate.

        Args:
            prompt: [m, d], or None for a manual prompt.
            batch_size: how many items share a forward pass.
            counter: counts these items as well, under the task's name.
        """
        count, words = len(self._right), self._answers.words
        found = self._log_probs(prompt, batch_size)
        own, free = found[:count], found[count:]
        evaluation = Evaluation.of(
            self.task,
            own,
            self._right,
            words,
            {NOT_ONE_TOKEN: self._skipped} if self._skipped else {},
            sum(row.cut > 0 for row in self._rows),
            counter,
        )
        if not len(free):
            return evaluation
        prior = free.logsumexp(0)  # of the mean probability, but for a constant
        without = Evaluation.of(self.task, own - prior, self._right, words)
        return replace(evaluation, calibrated=without.accuracy)

    def _log_probs(self, prompt: Tensor | None, batch_size: int) -> Tensor:
        """[N, A] on the CPU, in nats, of the candidates among themselves; then the texts that say nothing."""
        lm, ids, reader = self.layout.lm, self._answers.ids, self._reader
        own = None if prompt is None else prompt.detach().to(lm.device)
        if reader is None or (own is None and not isinstance(reader, WholeWordReader)):
            return answer_log_probs(lm, self._rows, prompt, ids, batch_size).cpu()
        return reader_log_probs(reader, len(self._rows), own, ids, batch_size)


class Exams:
    """Asks one task after another; what was computed for one task is dropped when the next one comes.

    Args:
        calibrated: see Exam.
    """

    def __init__(self, calibrated: bool = False) -> None:
        self.calibrated = calibrated
        self._digest = ""
        self._ready: dict[tuple[int, str, int, str | None, str], Exam] = {}

    def ask(
        self,
        lm: FrozenModel,
        prompt: SoftPrompt | str,
        task: PromptTask,
        split: str = "test",
        counter: RelationPrecision | None = None,
    ) -> Evaluation:
        """As `evaluate`; `counter` counts the items as well, under the task's name."""
        if task.digest != self._digest:
            self._digest, self._ready = task.digest, {}
        layout = Layout.of(lm, prompt)
        key = (id(lm), layout.position, layout.length, layout.template, split)
        if key not in self._ready:
            with unmetered():  # what every prompt of the task shares
                self._ready[key] = Exam(layout, task, split, self.calibrated)
        vectors = prompt.embeddings if isinstance(prompt, SoftPrompt) else None
        return self._ready[key].ask(vectors, counter=counter)


def evaluate(
    lm: FrozenModel,
    prompt: SoftPrompt | Tensor | str,
    task: PromptTask,
    split: str = "test",
    *,
    batch_size: int = 64,
    max_text_tokens: int | None = None,
) -> Evaluation:
    """Ask every item of a split with one prompt.

    Args:
        lm: a masked or causal language model.
        prompt: a soft prompt of this model; embeddings [m, d] alone stand between text and answer; a text is a
            manual prompt with [X] and [Y].
        task: see Exam.
        split: `train`, `dev` or `test`.
        batch_size: how many items share a forward pass.
        max_text_tokens: longer texts are cut at the end.

    Raises:
        UsageError: a prompt of another model, a template a causal model cannot answer, or anything that Exam
            raises.
    """
    if isinstance(prompt, Tensor):
        prompt = for_model(lm, prompt)
    exam = Exam(Layout.of(lm, prompt, max_text_tokens), task, split)
    return exam.ask(prompt.embeddings if isinstance(prompt, SoftPrompt) else None, batch_size)


def averages(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """The mean precision@1 over relations and over facts.

    `mean_over_relations` is what both papers report: the mean of the relations' accuracies, each counting once
    (the transfer paper calls it "micro-average accuracy"; it is a macro average in the usual sense).
    `mean_over_facts` weighs relations by their number of items (a micro average).

    Raises:
        UsageError: no evaluation at all.
    """
    require(len(evaluations) > 0, "evaluations", [], "at least one relation")
    hits = [hit for evaluation in evaluations for hit in evaluation.hits]
    return {
        "mean_over_relations": fmean(evaluation.accuracy for evaluation in evaluations),
        "mean_over_facts": fmean(hits),
    }
