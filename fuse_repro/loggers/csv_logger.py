"""metrics.csv: the records as a table that a spreadsheet reads."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.loggers.flat import Scalar, columns, flat
from fuse_repro.runs.directory import read_records, write_text
from fuse_repro.shown import visible

METRICS = "metrics.csv"
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # and the first four in their wide forms


class CsvLogger:
    """Keeps `directory`/metrics.csv in step with records.jsonl.

    A record is appended to the table. If it brings a new column, or replaces an earlier record of its id, the
    whole table is written anew from records.jsonl.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._columns: list[str] = []
        self._ids: set[Scalar] = set()

    def opened(self, manifest: Mapping[str, Any]) -> None:
        self._write_anew()

    def record(self, row: Mapping[str, Any]) -> None:
        values = flat(row)
        known = set(values) <= set(self._columns) and values.get("id") not in self._ids
        if not known:
            self._write_anew()
            return
        with (self.directory / METRICS).open("a", encoding="utf-8", newline="") as file:
            file.write(_lines(self._columns, [values]))
        self._ids.add(values.get("id"))

    def series(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Curves are not in this table."""

    def finished(self, results: Mapping[str, Any]) -> None:
        """Every record stands in the table already."""

    def failed(self, error: BaseException) -> None:
        """Every record stands in the table already."""

    def close(self) -> None:
        """The file is not held open."""

    def _write_anew(self) -> None:
        rows = [flat(record) for record in read_records(self.directory)]
        self._columns = columns(rows)
        self._ids = {row.get("id") for row in rows}
        head = {name: name for name in self._columns}
        text = _lines(self._columns, [head, *rows]) if rows else ""
        write_text(self.directory / METRICS, text)


def _lines(names: Sequence[str], rows: Sequence[Mapping[str, Scalar]]) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, names, lineterminator="\n")
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return target.getvalue()


def _cell(value: Scalar) -> Scalar:
    """Numbers as they are; text safe to show, and with a quote before what a spreadsheet would execute."""
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if value.startswith(FORMULA) else value)
