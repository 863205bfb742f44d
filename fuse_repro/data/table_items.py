"""From rows of a user's table to items: texts made of columns, labels to words, several right answers."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fuse_repro.data.prompt_task import Item
from fuse_repro.data.table_rows import Row, Table, cell_text
from fuse_repro.errors import UsageError, require

COLUMN = re.compile(r"\{([^{}]+)\}")
WITHOUT_TEXT, WITHOUT_ANSWER = "without a text", "without an answer"
CONTRADICTED, REPEATED = "with another label elsewhere", "repeated"
SHOWN = 5  # labels in a message
Words = Mapping[str, tuple[str, ...] | None]


def text_columns(pattern: str, columns: Sequence[str]) -> list[str]:
    """The columns that a text is made of: a column's name itself, or those in braces."""
    return [pattern] if pattern in columns or not COLUMN.search(pattern) else COLUMN.findall(pattern)


def label_words(given: Any) -> Words | None:
    """Label -> its words, as the config gives them: one word or several words for a label, or none to leave it out.

    Raises:
        UsageError: no mapping, no words, or a word of two labels that have other words besides.
    """
    if given is None:
        return None
    allowed = "a map of every label to its word, as {good: great, bad: terrible}, or null for free answers"
    require(isinstance(given, Mapping) and bool(given), "dataset.words", given, allowed)
    words = {cell_text(label): _words(label, value) for label, value in given.items()}
    require(any(words.values()), "dataset.words", dict(given), allowed)
    owners: dict[str, str] = {}
    for label, own in words.items():
        for word in own or ():
            other = owners.setdefault(word, label)
            require(
                words[other] == own,
                "dataset.words",
                word,
                f"a word of one label; both {other!r} and {label!r} have it, beside others",
            )
    return words


def _words(label: Any, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    words = tuple(dict.fromkeys(" ".join(str(word).split()) for word in listed))
    require(all(words) and bool(words), f"dataset.words.{label}", value, "a word, or a list of words")
    return words


@dataclass
class Reading:
    """Items of one table, and the rows that gave none.

    Attributes:
        items: one for every text, in the order of the table.
        left_out: reason -> the rows.
    """

    items: list[Item] = field(default_factory=list)
    left_out: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class RowReader:
    """Makes items of rows.

    Attributes:
        text: a column, or a text with columns in braces: "{premise} So: {hypothesis}".
        label: the column of the label or of the answer.
        words: label -> its words; None where the cells are the answers themselves.
        answer_separator: what stands between several right answers in a cell; None where there is one.
    """

    text: str
    label: str
    words: Words | None
    answer_separator: str | None

    def read(self, table: Table) -> Reading:
        """The items of a table.

        Rows of one text are one item: with label words they must agree, or all of them are left out; free answers are
        all right.

        Raises:
            UsageError: a column that is missing or empty, or a label without a word.
        """
        named = text_columns(self.text, table.columns)
        table.check_columns({"dataset.text": named, "dataset.label": [self.label]})
        table.check_plain(named)
        self._check_labels(table)
        reading = Reading()
        rows: dict[str, list[tuple[Row, tuple[str, ...]]]] = {}
        for row in table.rows:
            text, answers = self._text(row, named), self._answers(row)
            if text is None:
                reading.left_out[WITHOUT_TEXT].append(row)
            elif isinstance(answers, str):
                reading.left_out[answers].append(row)
            else:
                rows.setdefault(text, []).append((row, answers))
        for text, found in rows.items():
            self._add(reading, text, found)
        return reading

    def _add(self, reading: Reading, text: str, found: Sequence[tuple[Row, tuple[str, ...]]]) -> None:
        different = dict.fromkeys(answers for _, answers in found)
        if self.words is not None and len(different) > 1:
            reading.left_out[CONTRADICTED] += [row for row, _ in found]
            return
        if len(different) < len(found):
            seen: set[tuple[str, ...]] = set()
            for row, answers in found:
                if answers in seen:
                    reading.left_out[REPEATED].append(row)
                seen.add(answers)
        first, *others = dict.fromkeys(word for answers in different for word in answers)
        reading.items.append(Item(text, first, tuple(others)))

    def _text(self, row: Row, named: Sequence[str]) -> str | None:
        """The row's text; None where one of its columns is empty."""
        cells = {name: cell_text(row.cells.get(name)) for name in named}
        if not all(cells.values()):
            return None
        if list(cells) == [self.text]:
            return cells[self.text]
        return COLUMN.sub(lambda found: cells[found[1]], self.text)

    def _answers(self, row: Row) -> tuple[str, ...] | str:
        """The right answers, or why there are none."""
        found = tuple(dict.fromkeys(self._cells(row)))
        if not found or self.words is None:
            return found or WITHOUT_ANSWER
        words = [self.words[label] for label in found]
        given = dict.fromkeys(word for own in words for word in own or ())
        return tuple(given) or f"labelled {found[0]!r}, which dataset.words leaves out"

    def _cells(self, row: Row) -> Iterator[str]:
        """The labels or answers in the row's cell, none of them empty."""
        cell = row.cells.get(self.label)
        if isinstance(cell, list | tuple):
            parts = [cell_text(part) for part in cell]
        elif self.answer_separator is None:
            parts = [cell_text(cell)]
        else:
            parts = [cell_text(part) for part in cell_text(cell).split(self.answer_separator)]
        yield from (" ".join(part.split()) for part in parts if part)

    def _check_labels(self, table: Table) -> None:
        """Check that every label has a word, or is left out by name.

        Raises:
            UsageError: names the labels that have none, how many rows have them, and the first of these.
        """
        if self.words is None:
            return
        missing: dict[str, list[Row]] = {}
        for row in table.rows:
            for label in self._cells(row):
                if label not in self.words:
                    missing.setdefault(label, []).append(row)
        if missing:
            shown = "; ".join(
                f"{label!r} in {len(rows)} rows ({table.places(rows)})"
                for label, rows in list(missing.items())[:SHOWN]
            )
            more = f"; and {len(missing) - SHOWN} more labels" if len(missing) > SHOWN else ""
            raise UsageError(
                f"{table.origin}: labels without a word in dataset.words: {shown}{more}; give each a word, or leave "
                "its rows out with null, as {LABEL: null}"
            )
