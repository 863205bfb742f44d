"""The page of an inversion run: prompts beside the texts whose embeddings they were searched for."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.report.pages.captions import captions_content
from fuse_repro.report.pages.parts import Record


def is_inversion(records: Sequence[Record], results: Mapping[str, Any]) -> bool:
    """Whether these are the records or results of an inversion run."""
    return results.get("runner") == "invert" or any(record.get("targets") for record in records)


def inversion_content(records: Sequence[Record], results: Mapping[str, Any]) -> dict[str, Any]:
    """As for captions; the target texts stand in the place of the photo."""
    return captions_content(records, results) | {"compared_with": "the texts to be found"}
