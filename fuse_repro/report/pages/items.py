"""One card per item that was searched for: the photo, what was found for it, and how."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from fuse_repro.data.photo import load_image
from fuse_repro.errors import UsageError
from fuse_repro.report.formats import links, number
from fuse_repro.report.pages.beam import Beam, beam_path
from fuse_repro.report.pages.parts import Record
from fuse_repro.report.plots.loss_curve import loss_chart
from fuse_repro.report.plots.style import Drawing, Stroke, term_stroke

THUMBNAIL_PIXELS, JPEG_QUALITY = 480, 82


@dataclass(frozen=True)
class Picture:
    """A photo as an inline JPEG.

    Attributes:
        source: its data: address.
        width: in pixels.
        height: in pixels.
    """

    source: str
    width: int
    height: int


@dataclass(frozen=True)
class TermValue:
    """One term of the objective; its stroke makes the table the chart's legend, too.

    Attributes:
        stroke: as the chart draws it.
        name: of the term.
        raw: its value, as text.
        weight: as text.
        weighted: raw x weight, as text.
    """

    stroke: Stroke
    name: str
    raw: str
    weight: str
    weighted: str


@dataclass(frozen=True)
class FailedCard:
    """An item that failed.

    Attributes:
        anchor: the card's id on the page.
        id: of the item.
        error: one line.
        file: name of the photograph's file.
        done: false.
    """

    anchor: str
    id: str
    error: str
    file: str
    done: ClassVar[bool] = False


@dataclass(frozen=True)
class Card:
    """An item that is done.

    Attributes:
        anchor: the card's id on the page.
        caption: what was found.
        prefix: the fixed beginning of the prompt; empty where the prompt does not begin with it.
        rest: the prompt after its prefix.
        finished: whether the search ended a sentence.
        values: every term of the objective.
        objective: their sum, as text.
        chart: the loss curve, or None without steps.
        beam: the beam's path, or None without steps.
        pictures: None for a photo that is gone or damaged.
        alt: what the photo shows, for readers who cannot see it.
        origin: id, license and source of the photo, each in pieces (shown, address or None).
        targets: texts whose embedding was to be found; empty where it was a photo's.
        references: what people wrote.
        done: true.
    """

    anchor: str
    caption: str
    prefix: str
    rest: str
    finished: bool
    values: Sequence[TermValue]
    objective: str
    chart: Drawing | None
    beam: Beam | None
    pictures: Sequence[Picture | None]
    alt: str
    origin: Sequence[Sequence[tuple[str, str | None]]]
    targets: Sequence[str]
    references: Sequence[str]
    done: ClassVar[bool] = True


def card(record: Record, place: int) -> Card | FailedCard:
    """The card of the record at this place in records.jsonl."""
    return _done(record, place) if record.get("status") == "done" else _failed(record, place)


def anchor(place: int) -> str:
    """The id of a card on the page."""
    return f"item-{place + 1}"


def thumbnail(path: str | None) -> Picture | None:
    """The photo as an inline JPEG of at most 480 pixels a side; None where it is gone or damaged."""
    try:
        image = load_image(path or "")
    except UsageError:
        return None
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    image.save(target, "JPEG", quality=JPEG_QUALITY, optimize=True)
    source = "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
    return Picture(source, image.width, image.height)


def _done(record: Record, place: int) -> Card:
    terms, steps = list(record["terms"]), record.get("steps") or []
    prefix, text, targets = record["prefix"], record["text"], record.get("targets") or []
    starts = text.startswith(prefix)
    origin = (record["id"], record.get("license"), record.get("source"))
    paths = [] if targets else record.get("images") or [record.get("image")]
    return Card(
        anchor=anchor(place),
        caption=record["caption"] or "(nothing)",
        prefix=prefix if starts else "",
        rest=text[len(prefix) :] if starts else text,
        finished=bool(record.get("finished")),
        values=term_values(record["terms"]),
        objective=number(record["objective"]),
        chart=loss_chart(f"{place + 1}, {record['id']}", steps, terms),
        beam=beam_path(steps, prefix, text, terms),
        pictures=[thumbnail(path) for path in paths],
        alt=f"Photo {record['id']}. Caption found: {record['caption']}",
        origin=[links(part) for part in origin if part],
        targets=targets,
        references=record.get("references") or [],
    )


def _failed(record: Record, place: int) -> FailedCard:
    image = record.get("image")
    name, error = record.get("id", "An item"), record.get("error") or "No reason was recorded."
    return FailedCard(anchor(place), name, error, Path(image).name if image else "no file")


def term_values(terms: Mapping[str, Mapping[str, Any]]) -> list[TermValue]:
    """The table of the terms: raw value, weight and weighted value."""
    return [
        TermValue(
            term_stroke(index),
            name,
            number(term["raw"]),
            number(term["weight"], 2),
            number(term["weighted"]),
        )
        for index, (name, term) in enumerate(terms.items())
    ]
