"""Rows of .csv files with fields of any length, and with one clear line about what is no CSV."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from fuse_repro.errors import UsageError

LONGEST = 2**31 - 1  # characters; the csv module's own limit of 131,072 is shorter than some texts
UNCLOSED = "unexpected end of data"  # what the csv module says of a quote that is never closed


def csv_rows(path: Path, lines: Sequence[str], delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Every row with the number of the line that it ends on.

    A field in quotes may hold line feeds. A quote that is opened and not closed would take the rows below into its
    field; so text behind a closing quote is an error, too: it is where such a field would end.

    Args:
        path: for messages.
        lines: the file's, cut at line feeds. One line alone is cut at carriage returns, as old Macintosh files are.
        delimiter: what stands between cells.

    Raises:
        UsageError: a row that is no CSV, with the number of the line that it begins on.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
    filled = [line for line in lines if line]
    if len(filled) == 1 and "\r" in filled[0].removesuffix("\r"):
        lines = filled[0].split("\r")
    rows = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    begun = 1
    try:
        for row in rows:
            yield rows.line_num, row
            begun = rows.line_num + 1
    except csv.Error as err:
        why = "a quote is opened and never closed" if str(err) == UNCLOSED else str(err)
        remedy = "close every quote, and write a quote inside a quoted field twice"
        raise UsageError(f"{path}, line {begun}: no CSV ({why}): {remedy}") from err
