"""A user's own table as a prompting task: columns, label words and splits as the config names them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.data.prompt_task import (
    MULTI_TOKEN,
    SPLITS,
    Item,
    PromptTask,
    check_fractions,
    check_template,
    shuffled,
    split_by_text,
)
from fuse_repro.data.table_items import Reading, RowReader, label_words
from fuse_repro.data.table_rows import Table, read_hub, read_table
from fuse_repro.data.task_data import PromptTaskData
from fuse_repro.errors import require
from fuse_repro.shown import say

ELSEWHERE = "also in another split"
DEV_OF_TRAIN = {"train": 0.8, "dev": 0.2}  # where no file is dev
ALL = "train"  # the split of a hub's data set that is cut by fractions


class TableTask(PromptTaskData):
    """One task made of a table: a text and an answer in every row.

    Every row that gives no item is counted under its reason in the task's `dropped`, and said on standard error with
    the first places.

    Args:
        path: the table; where `splits` names files, the folder that these are in, or None for the current one.
        text: a column, or a text with columns in braces, as "{premise} So: {hypothesis}".
        label: the column of the label, or of the answer.
        words: label -> its word or words, or null to leave its rows out; None: the cells are the answers.
        template: the written prompt, with [X] for the text and [Y] for the answer.
        splits: shares of train, dev and test, as numbers that sum to one, every text in the split that its hash and the
            seed give it; or a file of each, as train.csv (of a hub's data set: a split's name). Where train is named
            and dev is not, a fifth of train is dev.
        multi_token: what is done with answers of several tokens; see PromptTask.
        answer_separator: what stands between several right answers in one cell.
        delimiter: what stands between the cells of a .csv file; None is a comma.
        limits: use at most so many items of a split.
        hub: name of a data set on the Hugging Face hub, in place of a path; subset: its configuration.
        name: of the task; None is the table's.
        seed: of the splits.

    Raises:
        UsageError: settings that cannot be used, or a table that cannot be read.
    """

    def __init__(
        self,
        text: str,
        label: str,
        template: str,
        path: str | None = None,
        words: Mapping[Any, Any] | None = None,
        splits: Mapping[str, Any] | None = None,
        multi_token: str = "refuse",
        answer_separator: str | None = None,
        delimiter: str | None = None,
        limits: Mapping[str, int] | None = None,
        hub: str | None = None,
        subset: str | None = None,
        name: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.splits: dict[str, Any] = dict(splits or {"train": 0.6, "dev": 0.2, "test": 0.2})
        self.files = check_splits(self.splits)
        good = path is None if hub is not None else path is not None or self.files is not None
        require(good, "dataset.path", path, WHERE)
        check_template("dataset", template)
        require(
            multi_token in MULTI_TOKEN, "dataset.multi_token", multi_token, f"one of {', '.join(MULTI_TOKEN)}"
        )
        require(
            answer_separator != "",
            "dataset.answer_separator",
            "",
            "a text, as ';', or null for one answer a cell",
        )
        for split, limit in (limits or {}).items():
            require(split in SPLITS, "dataset.limits", split, f"limits of {', '.join(SPLITS)}")
            require(limit >= 1, f"dataset.limits.{split}", limit, "at least 1, or left out for all")
        self.reader = RowReader(text, label, label_words(words), answer_separator)
        self.path, self.hub, self.subset, self.delimiter = path, hub, subset, delimiter
        self.template, self.multi_token = template, multi_token
        self.limits, self.seed = dict(limits or {}), seed
        self.title = name or _title(path, hub)
        self._tasks: tuple[PromptTask, ...] | None = None

    def tasks(self) -> tuple[PromptTask, ...]:
        """The one task; the table is read once.

        Raises:
            UsageError: a table that cannot be used.
        """
        self._tasks = self._tasks or (self._task(),)
        return self._tasks

    def _task(self) -> PromptTask:
        dropped: dict[str, int] = {}
        if self.files is None:
            splits = split_by_text(self._items(ALL if self.hub else None, dropped), self.splits, self.seed)
        else:
            splits = self._of_files(self.files, dropped)
        for split in SPLITS:
            splits[split] = tuple(shuffled(splits.get(split, ()), self.seed)[: self.limits.get(split)])
        answers = self._answers(splits)
        return PromptTask(
            self.title, answers, splits, self.template, self.title, dropped, multi_token=self.multi_token
        )

    def _of_files(self, files: Mapping[str, str], dropped: dict[str, int]) -> dict[str, tuple[Item, ...]]:
        """The items of every file; texts of several files are kept in the first of test, dev and train."""
        found: dict[str, tuple[Item, ...]] = {}
        seen: set[str] = set()
        for split in reversed(SPLITS):
            items = self._items(files[split], dropped) if split in files else []
            found[split] = tuple(item for item in items if item.text not in seen)
            if lost := len(items) - len(found[split]):
                dropped[ELSEWHERE] = dropped.get(ELSEWHERE, 0) + lost
                say(f"{files[split]}: {lost} texts left out: {ELSEWHERE}")
            seen.update(item.text for item in items)
        if "train" in files and "dev" not in files:
            found |= {
                split: items
                for split, items in split_by_text(found["train"], DEV_OF_TRAIN, self.seed).items()
                if split != "test"
            }
        return found

    def _items(self, name: str | None, dropped: dict[str, int]) -> list[Item]:
        table = self._table(name)
        reading = self.reader.read(table)
        _tell(table, reading, dropped)
        return reading.items

    def _table(self, name: str | None) -> Table:
        if self.hub is not None:
            return read_hub(self.hub, self.subset, str(name))
        path = Path(self.path or ".").expanduser()
        return read_table(path if name is None else path / name, self.delimiter)

    def _answers(self, splits: Mapping[str, Sequence[Item]]) -> tuple[str, ...]:
        """What answers compete with each other: all label words, or all answers of the table."""
        if self.reader.words is not None:
            return tuple(dict.fromkeys(word for own in self.reader.words.values() for word in own or ()))
        return tuple(sorted({word for items in splits.values() for item in items for word in item.right}))


WHERE = "one of dataset.path=FILE, dataset.splits={train: FILE, test: FILE} and dataset.hub=NAME"


def facts_table(
    subject: str,
    answer: str,
    template: str,
    path: str | None = None,
    splits: Mapping[str, Any] | None = None,
    multi_token: str = "drop",
    answer_separator: str | None = None,
    delimiter: str | None = None,
    limits: Mapping[str, int] | None = None,
    hub: str | None = None,
    subset: str | None = None,
    name: str | None = None,
    seed: int = 0,
) -> TableTask:
    """A table of facts: a subject and an answer in every row; several rows of one subject are several right answers.

    Args:
        subject: the column of subjects, or a text with columns in braces.
        answer: the column of answers.
        template: this and the others are as TableTask has them.
        path: see TableTask.
        splits: see TableTask.
        multi_token: see TableTask.
        answer_separator: see TableTask.
        delimiter: see TableTask.
        limits: see TableTask.
        hub: see TableTask.
        subset: see TableTask.
        name: see TableTask.
        seed: see TableTask.
    """
    return TableTask(
        subject, answer, template, path, None, splits, multi_token, answer_separator, delimiter, limits, hub, subset,
        name, seed,
    )  # fmt: skip


def check_splits(splits: Mapping[str, Any]) -> dict[str, str] | None:
    """The file of every split, or None where `splits` has shares.

    Raises:
        UsageError: neither of both.
    """
    names = {split: value for split, value in splits.items() if value is not None}
    if all(isinstance(value, str) for value in names.values()):
        allowed = "a file of test, and where prompts are tuned one of train"
        require("test" in names and set(names) <= set(SPLITS), "dataset.splits", dict(splits), allowed)
        return dict(names)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in names.values())
    require(numbers, "dataset.splits", dict(splits), "shares that sum to one, or files, not both")
    check_fractions(names)
    return None


def _title(path: str | None, hub: str | None) -> str:
    if hub is not None:
        return hub.replace("/", "_")
    return (Path(path).stem if path else "") or "table"


def _tell(table: Table, reading: Reading, dropped: dict[str, int]) -> None:
    """Count the rows that gave no item, and say where they are."""
    for reason, rows in sorted(reading.left_out.items()):
        dropped[reason] = dropped.get(reason, 0) + len(rows)
        say(
            f"{table.origin}: {len(rows)} of {len(table.rows)} rows left out: {reason} ({table.places(rows)})"
        )
