"""Rows of .csv files with fields of any length, and with one clear line about what is no CSV."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from fuse_repro.errors import UsageError

LONGEST = 2**31 - 1  # characters; the csv module's own limit of 131,072 is shorter than some texts


def csv_rows(path: Path, lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Every row with the number of the line that it ends on.

    Args:
        path: for messages.
        lines: the file's, cut at line feeds.

    Raises:
        UsageError: a row that is no CSV.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
    rows = csv.reader(f"{line}\n" for line in lines)
    try:
        for row in rows:
            yield rows.line_num, row
    except csv.Error as err:
        raise UsageError(f"{path}, line {rows.line_num}: no CSV ({err}): put fields into quotes") from err
