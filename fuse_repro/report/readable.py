"""Records and results of which a page can be made, where somebody has edited them by hand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def readable(
    show: Callable[[Sequence[Record], Mapping[str, Any]], object],
    records: Sequence[Record],
    results: Mapping[str, Any],
) -> tuple[Sequence[Record], Mapping[str, Any], list[str]]:
    """What can be shown of a run's records and results.

    Args:
        show: what is to be made of them; it fails where a value is missing or of another kind than it should be.
        records: one per item.
        results: what results.json holds.

    Returns:
        The records and results for which `show` does not fail, and a line on everything that is left out. If `show`
        fails without any, the fault is its own, and they are returned as given.
    """
    if _fault(show, records, results) is None or _fault(show, [], {}) is not None:
        return records, results, []
    said: list[str] = []
    kept = []
    for record in records:
        fault = _fault(show, [record], results)
        if fault is not None and _fault(show, [record], {}) is not None:
            said.append(f"records.jsonl: the record of {record.get('id')!r:.60} cannot be shown ({fault})")
        else:
            kept.append(record)
    if fault := _fault(show, kept, results):
        results = {}
        said.append(f"results.json cannot be shown ({fault})")
    if fault := _fault(show, kept, results):
        kept = []
        said.append(f"records.jsonl: the records cannot be shown together ({fault})")
    return kept, results, said


def _fault(show: Callable[..., object], records: Sequence[Record], results: Mapping[str, Any]) -> str | None:
    """What is wrong; None where nothing is."""
    try:
        show(records, results)
    except Exception as error:  # whatever an odd value leads to
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return None
