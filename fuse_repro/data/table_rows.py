"""Rows of a user's own table: a .csv, .tsv, .jsonl or .parquet file, or a data set of the Hugging Face hub."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuse_repro.data.csv_rows import csv_rows
from fuse_repro.errors import UsageError, first_line, quoted, require
from fuse_repro.storage.reading import json_lines, read_text, require_regular, text_lines, whole_text

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
KEY = "dataset.path"


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        number: of its line in a text file, else of the row, from 1 on.
        cells: column -> what stands there: text, a number, a list ... or None.
    """

    number: int
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes:
        origin: the file, or the data set and its split, for messages.
        counted: what the rows' numbers count: "line" or "row".
        columns: their names.
        rows: at least one.
    """

    origin: str
    counted: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def check_columns(self, wanted: Mapping[str, Sequence[str]]) -> None:
        """Check that columns are there, and that something stands in each of them.

        Args:
            wanted: key of the config -> the columns that it names.

        Raises:
            UsageError: a column that is missing or empty.
        """
        for key, names in wanted.items():
            for name in names:
                known = f"one of the columns of {self.origin}: {', '.join(self.columns)}"
                require(name in self.columns, key, name, known)
                if not any(cell_text(row.cells.get(name)) for row in self.rows):
                    raise UsageError(
                        f"{self.origin}: the column {name!r} is empty in all {len(self.rows)} rows: name another one "
                        f"with {key}=..."
                    )

    def check_plain(self, names: Sequence[str]) -> None:
        """Check that the cells of columns are texts or numbers. Raises UsageError at the first other one."""
        for row in self.rows:
            for name in names:
                if isinstance(cell := row.cells.get(name), list | tuple | Mapping):
                    raise UsageError(
                        f"{self.origin}, {self.counted} {row.number}: {quoted(cell)} in the column {name!r} is no "
                        "text: name a column of texts"
                    )

    def places(self, rows: Sequence[Row], most: int = 3) -> str:
        """Where rows stand, the first of them: "lines 3, 8, 9 ..."."""
        numbers = ", ".join(str(row.number) for row in rows[:most])
        more = " ..." if len(rows) > most else ""
        return f"{self.counted}{'s' if len(rows) > 1 else ''} {numbers}{more}"


def cell_text(value: Any) -> str:
    """A cell as text: no blanks around it; whole numbers without a point; true and false in lower case; None is empty.

    >>> cell_text(1.0), cell_text(" True "), cell_text(None)
    ('1', 'true', '')
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = whole_text(str(value)).strip()
    return text.lower() if text.lower() in ("true", "false") else text


def read_table(path: Path, delimiter: str | None) -> Table:
    """The table in a file, by its suffix.

    Args:
        path: a .csv or .tsv file with a header, JSON lines with one object each, or a .parquet file.
        delimiter: what stands between the cells of a .csv file; None is a comma.

    Raises:
        UsageError: another suffix, a file that cannot be read or is not in its format, or no rows.
    """
    readers: dict[str, Callable[[], Table]] = {
        ".csv": lambda: _with_header(path, _csv(path, delimiter)),
        ".tsv": lambda: _with_header(path, _tsv(path)),
        ".jsonl": lambda: _jsonl(path),
        ".parquet": lambda: _parquet(path),
    }
    suffix = path.suffix.lower()
    require(suffix in readers, KEY, str(path), f"a file of {', '.join(SUFFIXES)}")
    return _filled(readers[suffix]())


def read_hub(name: str, subset: str | None, split: str) -> Table:
    """One split of a data set of the Hugging Face hub.

    Raises:
        UsageError: without the `hub` extra, a data set or split that cannot be loaded, or no rows.
    """
    try:
        from datasets import load_dataset
    except ImportError as err:
        raise UsageError(
            f"dataset.hub={quoted(name)} needs the datasets library: pip install 'fuse_repro[hub]', or give a file "
            "with dataset.path=..."
        ) from err
    try:
        rows = list(load_dataset(name, subset, split=split))
    except Exception as err:  # the library passes on whatever its many network layers raise
        raise UsageError(
            f"dataset.hub={quoted(name)} ({subset or 'default'}, {split}) cannot be loaded ({first_line(err)[:200]}): "
            "check the name, dataset.subset, the splits and the network"
        ) from err
    return _filled(_of_objects(f"{name} ({split})", rows))


def _filled(table: Table) -> Table:
    if not table.rows:
        raise UsageError(f"{table.origin} holds no rows: give a table with a row for every item")
    return table


def _text(path: Path) -> str:
    remedy = "give a table that is there, saved as UTF-8"
    return read_text(path, lambda why: UsageError(f"{KEY}: {path} cannot be read ({why}): {remedy}"))


def _csv(path: Path, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    lines = text_lines(_text(path))
    header = next((line for line in lines if line.strip()), "")
    mark = next((mark for mark in (";", "\t", "|") if mark in header), None)
    if delimiter is None and mark is not None and "," not in header:
        raise UsageError(
            f"{path}: its first line names one column, and the cells seem to stand between {mark!r}: set "
            "dataset.delimiter"
        )
    given = "," if delimiter is None else delimiter
    require(len(given) == 1, "dataset.delimiter", delimiter, "one character, as ';', or null for a comma")
    return csv_rows(path, lines, given)


def _tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Cells between tabs. There is no quoting: a quotation mark is part of a cell."""
    for number, line in enumerate(text_lines(_text(path)), start=1):
        yield number, line.split("\t")


def _with_header(path: Path, lines: Iterator[tuple[int, list[str]]]) -> Table:
    """The rows below a line of names; blank lines are passed over.

    Raises:
        UsageError: no header, a name that stands twice, or rows with another number of cells.
    """
    rows = ((number, cells) for number, cells in lines if any(cell.strip() for cell in cells))
    _, names = next(rows, (0, []))
    columns = tuple(name.strip() for name in names)
    if not columns:
        raise UsageError(f"{path} is empty: its first line must name the columns")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    require(not twice, f"{path}: columns", twice, "every name in the first line once")
    found: list[tuple[int, list[str]]] = []
    odd: list[tuple[int, list[str]]] = []
    for number, cells in rows:
        (found if len(cells) == len(columns) else odd).append((number, cells))
    if odd:
        number, cells = odd[0]
        raise UsageError(
            f"{path}, line {number}: {len(cells)} cells, and the first line names {len(columns)} columns; so in "
            f"{len(odd)} of {len(odd) + len(found)} rows: put cells that hold the delimiter into quotes"
        )
    return Table(
        str(path),
        "line",
        columns,
        tuple(Row(n, dict(zip(columns, cells, strict=True))) for n, cells in found),
    )


def _jsonl(path: Path) -> Table:
    def wrong(number: int, why: str) -> UsageError:
        return UsageError(f"{path}, line {number}: not JSON ({why}): give one object a line")

    rows = []
    for number, value in json_lines(_text(path), wrong):
        if not isinstance(value, dict):
            raise UsageError(f"{path}, line {number}: {quoted(value)} is no object: give one object a line")
        rows.append(Row(number, value))
    columns = dict.fromkeys(name for row in rows for name in row.cells)
    return Table(str(path), "line", tuple(columns), tuple(rows))


def _parquet(path: Path) -> Table:
    try:
        import pyarrow.parquet
    except ImportError as err:
        raise UsageError(
            f"{KEY}: {path} needs pyarrow: pip install 'fuse_repro[parquet]', or save the table as .csv or .jsonl"
        ) from err
    try:
        require_regular(path)
        objects = pyarrow.parquet.read_table(path).to_pylist()
    except Exception as err:  # what pyarrow makes of a damaged file is of many kinds
        raise UsageError(
            f"{KEY}: {path} cannot be read ({first_line(err)[:200]}): give a parquet file"
        ) from err
    return _of_objects(str(path), objects)


def _of_objects(origin: str, objects: Sequence[Mapping[str, Any]]) -> Table:
    columns = dict.fromkeys(name for row in objects for name in row)
    rows = tuple(Row(number, row) for number, row in enumerate(objects, start=1))
    return Table(origin, "row", tuple(columns), rows)
