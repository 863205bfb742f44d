"""What of a run's records is shown in wandb: curves over the search, and tables."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

import wandb
from PIL import Image

from fuse_repro.data.photo import load_image
from fuse_repro.errors import UsageError
from fuse_repro.loggers.flat import columns, flat
from fuse_repro.report.plots.loss_curve import best_of_beam
from fuse_repro.shown import visible_values

STEP, MATCHING_STEP = "search/step", "matching/step"
THUMBNAIL_PIXELS = 480
Record = Mapping[str, Any]


def search_steps(record: Record) -> list[dict[str, float]]:
    """Objective and weighted terms of the best hypothesis at every step of a discrete search."""
    best = best_of_beam(record.get("steps") or [])
    return [_known({"objective": row["objective"], **row["terms"]}) for row in best]


def item_curves(record: Record) -> Iterator[dict[str, float]]:
    """The search of one item as points of curves named search/ID/TERM, and its loss as matching/ID/loss."""
    for step, values in enumerate(search_steps(record), start=1):
        yield {STEP: step} | {f"search/{record['id']}/{name}": value for name, value in values.items()}
    for step, loss in (record.get("matching") or {}).get("curve") or []:
        yield {MATCHING_STEP: step, f"matching/{record['id']}/loss": loss}


def mean_curves(records: Sequence[Record]) -> Iterator[dict[str, float]]:
    """The mean over all items; one whose search ended early keeps its last value."""
    searches = [steps for record in records if (steps := search_steps(record))]
    for place in range(max(map(len, searches), default=0)):
        rows = [steps[min(place, len(steps) - 1)] for steps in searches]
        names = columns([dict(row) for row in rows])
        means = {name: fmean(row[name] for row in rows if name in row) for name in names}
        yield {STEP: place + 1} | {f"search/mean/{name}": value for name, value in means.items()}


def tables(records: Sequence[Record], images: int) -> dict[str, wandb.Table]:
    """Captions with their photographs and every step of every search; other records by their kind."""
    searched = [record for record in records if "image" in record]
    found = {}
    if searched:
        found["captions"] = _captions(searched, images)
        found["search_steps"] = _table(
            [
                {"item": record["id"], "step": step, **values}
                for record in searched
                for step, values in enumerate(search_steps(record), start=1)
            ]
        )
    others = sorted((record for record in records if "image" not in record), key=_kind)
    for kind, rows in groupby(others, key=_kind):
        found[kind] = _table([row for record in rows for row in _rows(record)])
    return found


def _rows(record: Record) -> list[dict[str, Any]]:
    """The record as a row, or as one row for each of the methods that it compares."""
    methods = record.get("methods")
    if not isinstance(methods, Mapping) or not methods:
        return [flat(record)]
    shared = flat({key: value for key, value in record.items() if key != "methods"})
    return [{**shared, "method": name, **flat(values)} for name, values in methods.items()]


def _kind(record: Record) -> str:
    return str(record.get("kind") or ("transfer" if "method" in record else "records"))


def _captions(records: Sequence[Record], images: int) -> wandb.Table:
    rows = []
    for place, record in enumerate(records):
        row = flat(record)
        picture = _picture(row.pop("image", None)) if place < images else None
        references = "\n".join(record.get("references") or [])
        rows.append({"id": row.pop("id"), "photo": picture, "caption": row.pop("caption", None), **row})
        rows[-1]["references"] = references
    return _table(rows)


def _table(rows: Sequence[Mapping[str, Any]]) -> wandb.Table:
    names = columns([dict(row) for row in rows])
    values = [_uniform([row.get(name) for row in rows]) for name in names]
    return wandb.Table(columns=visible_values(names), data=visible_values(list(zip(*values, strict=True))))


def _uniform(column: list[Any]) -> list[Any]:
    """The column of one type, as a wandb table needs it: text where text and numbers are mixed."""
    kinds = {float if type(value) is int else type(value) for value in column if value is not None}
    if len(kinds) < 2:
        return column
    return [value if value is None else str(value) for value in column]


def _picture(path: Any) -> wandb.Image | None:
    """A thumbnail, or None where the photograph is gone or damaged."""
    try:
        image = load_image(path or "")
    except UsageError:
        return None
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    return wandb.Image(image, file_type="jpg")


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
