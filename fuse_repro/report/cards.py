"""One card per item: the photo, what was found for it, and how."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from fuse_repro.data.photo import load_image
from fuse_repro.errors import UsageError
from fuse_repro.report.beam import beam_section
from fuse_repro.report.charts import loss_chart, swatch
from fuse_repro.report.markup import Html, element, join, linked, number, table

THUMBNAIL_PIXELS, JPEG_QUALITY = 480, 82


def card(record: Mapping[str, Any], place: int) -> Html:
    """The card of the record at this place in records.jsonl."""
    content = _done(record, place) if record.get("status") == "done" else _failed(record)
    state = "card" if record.get("status") == "done" else "card failed"
    return element("article", *content, class_=state, id=anchor(place))


def anchor(place: int) -> str:
    """The id of a card on the page."""
    return f"item-{place + 1}"


def thumbnail(path: str | None, alt: str) -> Html:
    """The photo as an inline JPEG of at most 480 pixels a side; a note where it is gone or damaged."""
    try:
        image = load_image(path or "")
    except UsageError:
        return element("p", "The photo is no longer there.", class_="gone")
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    image.save(target, "JPEG", quality=JPEG_QUALITY, optimize=True)
    source = "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
    return element("img", src=source, width=image.width, height=image.height, alt=alt)


def _done(record: Mapping[str, Any], place: int) -> list[Html | None]:
    terms = list(record["terms"])
    prefix, text = record["prefix"], record["text"]
    steps = record.get("steps") or []
    chart = loss_chart(f"{place + 1}, {record['id']}", steps, terms)
    found = element(
        "div",
        element("h2", record["caption"] or "(nothing)", class_="caption"),
        element("p", _prompt(prefix, text), class_="prompt"),
        None if record.get("finished") else element("p", "Stopped before the sentence ended.", class_="hint"),
        _values(record),
        chart and element("h3", "Best of the beam at each step"),
        chart,
        class_="found",
    )
    alt = f"Photo {record['id']}. Caption found: {record['caption']}"
    photo = _targets(record) if record.get("targets") else _photo(record, alt)
    top = element("div", photo, found, _references(record), class_="top")
    return [top, beam_section(steps, prefix, text, terms)]


def _failed(record: Mapping[str, Any]) -> list[Html]:
    image = record.get("image")
    name = Path(image).name if image else "no file"
    return [
        element("h2", f"{record.get('id', 'An item')} failed"),
        element("p", record.get("error") or "No reason was recorded.", class_="error"),
        element("p", name, class_="hint"),
    ]


def _photo(record: Mapping[str, Any], alt: str) -> Html:
    origin = [record["id"], record.get("license"), record.get("source")]
    line = join(part for text in origin if text for part in (linked(text), " · "))
    return element(
        "figure",
        *(thumbnail(path, alt) for path in record.get("images") or [record.get("image")]),
        element("figcaption", Html(line.removesuffix(" · "))),
    )


def _targets(record: Mapping[str, Any]) -> Html:
    """The texts whose embedding was to be found."""
    items = (element("li", text) for text in record["targets"])
    return element("div", element("h3", "To be found"), element("ul", *items), class_="references")


def _prompt(prefix: str, text: str) -> Html:
    if not text.startswith(prefix):
        return join([text])
    return join([element("span", prefix, class_="prefix"), text[len(prefix) :]])


def _values(record: Mapping[str, Any]) -> Html:
    """Raw value, weight and weighted value of every term; it is the chart's legend, too."""
    rows: list[list[object]] = [
        [
            join([swatch(index), name]),
            number(term["raw"]),
            number(term["weight"], 2),
            number(term["weighted"]),
        ]
        for index, (name, term) in enumerate(record["terms"].items())
    ]
    rows.append([join([swatch(None), "objective"]), "", "", element("strong", number(record["objective"]))])
    return table(["lower is better", "raw", "weight", "weighted"], rows, class_="values")


def _references(record: Mapping[str, Any]) -> Html | None:
    if not record.get("references"):
        return None
    items = (element("li", text) for text in record["references"])
    return element("div", element("h3", "People wrote"), element("ul", *items), class_="references")
