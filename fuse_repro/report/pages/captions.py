"""The page of a captioning run: its numbers, an overview, and a card for every photograph."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from fuse_repro.progress import track
from fuse_repro.report.formats import number
from fuse_repro.report.measures import metrics_in_percent
from fuse_repro.report.pages.items import anchor, card
from fuse_repro.report.pages.parts import Record, Tile, counts, split
from fuse_repro.report.plots.style import term_stroke

FEW = 4  # items that need no overview
PREFIX_POLICIES = {
    "strip": "The prefix was removed from the captions before they were compared.",
    "keep": "The captions were compared with their prefix.",
}


def captions_content(records: Sequence[Record], results: Mapping[str, Any]) -> dict[str, Any]:
    """Tiles, the caption metrics, an overview of many items, and a card for every item."""
    return {
        "compared_with": "the captions people wrote",
        "tiles": _tiles(records, results),
        "scores": _scores(results),
        "overview": _overview(records),
        "cards": [card(record, place) for place, record in enumerate(track(records, "writing the report"))],
        "objective_stroke": term_stroke(None),
    }


def _tiles(records: Sequence[Record], results: Mapping[str, Any]) -> list[Tile]:
    """Items done and failed, the mean objective and its terms, and the time an item took."""
    done, failed = split(records)
    values = counts(done, failed, "done")
    if done:
        values.append(Tile(_mean(record["objective"] for record in done), "mean objective"))
        values += [_term_tile(name, done) for name in done[0]["terms"]]
    seconds = (results.get("timing") or {}).get("seconds_per_item")
    if seconds is not None:
        values.append(Tile(f"{number(seconds, 1)} s", "per item"))
    return values


def _term_tile(name: str, done: Sequence[Record]) -> Tile:
    terms = [record["terms"][name] for record in done if name in record["terms"]]
    raw, weighted = (_mean(term[kind] for term in terms) for kind in ("raw", "weighted"))
    return Tile(weighted, f"mean {name}", note=f"weighted; raw {raw}")


def _mean(values: Iterable[float | None]) -> str:
    """The mean of the values that are there, as text."""
    known = [value for value in values if value is not None]
    return number(fmean(known) if known else None)


def _scores(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metrics in percent as tiles, and what is to be known about them; None where there is neither."""
    found, note = results.get("metrics") or {}, results.get("metrics_note")
    if not found and not note:
        return None
    notes = [note] if note else [PREFIX_POLICIES.get(results.get("prefix_policy", ""), "")]
    if "items" in found:
        left_out = f", {found['left_out']} without references left out" if found.get("left_out") else ""
        notes.append(f"{found['items']} items{left_out}.")
    tiles = [Tile(number(value, 1), name) for name, value in metrics_in_percent(results).items()]
    return {"tiles": tiles, "notes": [text for text in notes if text]}


def _overview(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A row for every item that leads to its card; empty for a handful."""
    if len(records) <= FEW:
        return []
    return [
        {
            "anchor": anchor(place),
            "id": record.get("id", ""),
            "text": record.get("caption")
            if record.get("status") == "done"
            else f"failed: {record.get('error')}",
            "objective": number(record.get("objective")),
        }
        for place, record in enumerate(records)
    ]
