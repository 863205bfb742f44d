"""What a prompt of answers is searched for: a task's examples, or one fixed text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from omegaconf import DictConfig

from fuse_repro.data.item_data import ItemData
from fuse_repro.data.prompt_task import Item, PromptTask, shuffled
from fuse_repro.data.task_data import PromptTaskData
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.objectives import AnswerTerm, MultiObjectiveLoss
from fuse_repro.runners.search.answer_exam import Asking

TARGET = "target"  # the id of a fixed text
DRAWS = ("fixed", "step")
LARGE = 1_000_003  # more steps than a search takes


@dataclass(frozen=True)
class AnswerItem:
    """What one prompt is searched for.

    Attributes:
        id: of the record: the task's name, or `TARGET`.
        examples: what the objective asks, all that there are.
        task: what a prompt is asked in the end; None for a fixed text, where that is the example itself.
    """

    id: str
    examples: tuple[Item, ...]
    task: PromptTask | None = None

    @property
    def label(self) -> str:
        """The task's name in words."""
        return "" if self.task is None else self.task.label

    @property
    def answers(self) -> tuple[str, ...]:
        """What an answer may be; none for a fixed text."""
        return () if self.task is None else self.task.answers


class AnswerItems(ItemData):
    """Items of a predict loop, in a fixed order."""

    def __init__(self, items: Sequence[AnswerItem]) -> None:
        super().__init__()
        self._items = tuple(items)

    @property
    def items(self) -> Sequence[AnswerItem]:
        """All of them."""
        return self._items


def tasks_of(config: DictConfig, data: object) -> tuple[PromptTask, ...]:
    """The tasks of config.dataset, which `data` is; none where config.target gives a text.

    Raises:
        UsageError: an empty target, data that cannot be used, or a task without an item to learn from.
    """
    if config.target is not None:
        require(bool(config.target.strip()), "target", config.target, "a text that the models shall say")
        return ()
    given = isinstance(data, PromptTaskData)
    require(given, "dataset", type(data).__name__, "one of prompting tasks, such as facts, sst2 or table")
    found = cast(PromptTaskData, data).tasks()
    for task in found:
        if not task.splits["train"]:
            raise UsageError(
                f"{task.name} has no training items to search a prompt by: change dataset's splits"
            )
    return found


def answer_items(
    config: DictConfig, tasks: Sequence[PromptTask], models: Sequence[FrozenModel]
) -> list[AnswerItem]:
    """What prompts are searched for, with the answers that all `models` can give.

    Raises:
        UsageError: a task without an answer that all models can give.
    """
    if config.target is not None:
        return [AnswerItem(TARGET, (Item("", config.target.strip()),))]
    asking = Asking(config.runner.chat)
    common = [asking.can_be_asked(task, config.runner.template, models) for task in tasks]
    for task in common:
        if not task.splits["train"]:
            raise UsageError(
                f"{task.name} has no training item whose answer all models can give in one token"
            )
    return [AnswerItem(task.name, task.splits["train"], task) for task in common]


@dataclass
class Drawn(Mapping[str, Any]):
    """The examples that a search is judged by now, made ready for every term: name -> what the term is given.

    Attributes:
        objective: whose terms ask.
        item: whose examples are drawn.
        count: how many; None for all.
        seed: of the draws.
    """

    objective: MultiObjectiveLoss
    item: AnswerItem
    count: int | None
    seed: int
    _order: list[Item] = field(init=False)
    _number: int = field(default=0, init=False)
    _ready: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._order = shuffled(self.item.examples, self.seed)
        self.redraw()

    def redraw(self) -> None:
        """Other examples, drawn without repetition; the same in every run of one seed."""
        examples = self._order
        count = len(examples) if self.count is None else min(self.count, len(examples))
        if self._number:
            generator = torch.Generator().manual_seed(self.seed * LARGE + self._number)
            order = torch.randperm(len(examples), generator=generator).tolist()
            examples = [examples[place] for place in order]
        self._number += 1
        terms = self.objective.terms.items()
        self._ready = {
            name: term.target(examples[:count], self.item.answers)
            for name, term in terms
            if isinstance(term, AnswerTerm)
        }

    def __getitem__(self, name: str) -> Any:
        return self._ready[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ready)

    def __len__(self) -> int:
        return len(self._ready)
