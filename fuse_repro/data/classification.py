"""Text classification as prompting: texts, and one label word (verbalizer) for each class."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fuse_repro.data.csv_rows import csv_rows
from fuse_repro.data.downloaded import DataSource
from fuse_repro.data.label_columns import Columns, columns_of, two_columns
from fuse_repro.data.prompt_task import SPLITS, Item, PromptTask, check_template, shuffled
from fuse_repro.data.task_data import PromptTaskData
from fuse_repro.errors import UsageError, quoted, require
from fuse_repro.storage.reading import is_folder, read_text, text_lines


class TextClassification(PromptTaskData):
    """A data set of labelled texts as one task; answers are the label words.

    Files are read by their suffix: `.tsv` has text TAB label, labels counted from 0; `.csv` has "label","text",
    labels counted from 1. A first line that names its columns, as the usual downloads have it, says which of them is
    the label; see `columns_of`. Blank lines are passed over. Texts that stand in several files are kept in the first
    of test, dev, train only.

    Args:
        name: of the data set.
        path: its folder.
        files: the file of each split, relative to the folder.
        words: the label word of each class, in the order of the `.tsv` labels.
        template: the manual prompt, with [X] and [Y].
        csv_order: class numbers (as in `.tsv`) of the labels 1, 2 ... of `.csv` files; None: the same order.
        limits: use at most so many items of a split.
        seed: of that choice.
        site: where to get the data set, for messages.

    Raises:
        UsageError: a folder or file is missing, a line that is not in the format (with its number), or a
            label without a word.
    """

    def __init__(
        self,
        name: str,
        path: str | Path,
        files: Mapping[str, str],
        words: Sequence[str],
        template: str,
        csv_order: Sequence[int] | None = None,
        limits: Mapping[str, int] | None = None,
        seed: int = 0,
        site: str = "its authors",
    ) -> None:
        super().__init__()
        require(
            set(files) == set(SPLITS),
            "dataset.files",
            sorted(files),
            f"a file for each of {', '.join(SPLITS)}",
        )
        if not is_folder(path):
            source = DataSource(name, site, ", ".join(files.values()))
            raise source.wrong(f"dataset.path={quoted(str(path))} is not allowed: a folder that exists")
        for split, file in files.items():
            key = f"dataset.files.{split}"
            require(Path(file).suffix in (".tsv", ".csv"), key, file, "a .tsv or .csv file")
        require(bool(words), "dataset.words", list(words), "a label word for each class")
        check_template("dataset", template)
        for split, limit in (limits or {}).items():
            require(split in SPLITS, "dataset.limits", split, f"limits of {', '.join(SPLITS)}")
            require(limit >= 1, f"dataset.limits.{split}", limit, "at least 1, or left out for all")
        order = list(range(len(words))) if csv_order is None else list(csv_order)
        require(
            sorted(order) == list(range(len(words))), "dataset.csv_order", order, "each class number once"
        )
        self.title, self.path, self.files = name, Path(path), dict(files)
        self.words, self.template = tuple(words), template
        self._csv_words = tuple(self.words[number] for number in order)
        self.limits, self.seed = dict(limits or {}), seed

    def tasks(self) -> tuple[PromptTask, ...]:
        """The one task."""
        seen: set[str] = set()
        splits: dict[str, tuple[Item, ...]] = {}
        repeated = 0
        for split in reversed(SPLITS):
            items = list(dict.fromkeys(self._read(self.path / self.files[split])))
            fresh = [item for item in items if item.text not in seen]
            repeated += len(items) - len(fresh)
            seen.update(item.text for item in fresh)
            splits[split] = tuple(shuffled(fresh, self.seed)[: self.limits.get(split)])
        dropped = {"also in another split": repeated}
        return (PromptTask(self.title, self.words, splits, self.template, self.title, dropped),)

    def _read(self, path: Path) -> Iterator[Item]:
        readers = {".tsv": self._read_tsv, ".csv": self._read_csv}
        remedy = "give a UTF-8 file with texts and labels"
        text = read_text(
            path,
            lambda why: UsageError(f"dataset.files: {path} cannot be read ({why}): {remedy}"),
        )
        yield from readers[path.suffix](path, text_lines(text))

    def _read_tsv(self, path: Path, lines: Sequence[str]) -> Iterator[Item]:
        rows = ((number, line.split("\t")) for number, line in enumerate(lines, start=1) if line.strip())
        columns = two_columns(-1)
        for place, (number, row) in enumerate(rows):
            if place == 0 and (found := columns_of(row)) is not None:
                columns = found if len(row) > 2 else two_columns(0 if found.label == 0 else -1)
                continue
            text, label = _cells(path, number, row, columns, "a text, a tab and a label")
            yield self._item(path, number, text, label, self.words, first=0)

    def _read_csv(self, path: Path, lines: Sequence[str]) -> Iterator[Item]:
        rows = ((number, row) for number, row in csv_rows(path, lines) if any(cell.strip() for cell in row))
        columns = Columns(label=0)
        for place, (number, row) in enumerate(rows):
            if place == 0 and (found := columns_of(row)) is not None:
                columns = found
                continue
            text, label = _cells(path, number, row, columns, "a label and a text, in quotes, with a comma")
            yield self._item(path, number, text, label, self._csv_words, first=1)

    def _item(self, path: Path, number: int, text: str, label: str, words: Sequence[str], first: int) -> Item:
        allowed = {str(first + index): word for index, word in enumerate(words)}
        if label not in allowed:
            raise UsageError(
                f"{path}, line {number}: label {label!r} has no word: labels go from {first} to "
                f"{first + len(words) - 1}"
            )
        if not text.strip():
            raise UsageError(f"{path}, line {number}: the text is empty")
        return Item(" ".join(text.split()), allowed[label])


def _cells(path: Path, number: int, row: Sequence[str], columns: Columns, needs: str) -> tuple[str, str]:
    """Text and label of a row. Raises UsageError for one that has too few cells, or others than the header names."""
    if len(row) < 2:
        raise UsageError(f"{path}, line {number}: needs {needs}")
    if columns.count not in (None, len(row)):
        raise UsageError(f"{path}, line {number}: {len(row)} cells, and the first line names {columns.count}")
    return columns.text_of(row), row[columns.label].strip()
