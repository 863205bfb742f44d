"""The papers' values beside ours, on the page of a run or sweep that names a cell of a paper."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fuse_repro.data.paper_values import CELLS
from fuse_repro.report.measures import Measure
from fuse_repro.report.paper import compare, difference_text, ours_text

HEAD = ["cell", "source", "metric or method", "paper", "ours", "difference"]


def paper_table(runs: Iterable[tuple[Mapping[str, Any], Sequence[Measure]]]) -> dict[str, Any] | None:
    """`head` and `rows` for the runs (config, measures) that name a cell; None where none does."""
    found: dict[str, list[Sequence[Measure]]] = {}
    for config, measured in runs:
        cell = config.get("paper_cell")
        if isinstance(cell, str) and cell in CELLS:
            found.setdefault(str(cell), []).append(measured)
    if not found:
        return None
    rows = [
        [row.cell, row.source, row.name, f"{row.paper:.2f}", ours_text(row), difference_text(row)]
        for row in compare(found, list(found))
    ]
    return {"head": HEAD, "rows": rows}
