"""HTML by construction: text is escaped unless it is already `Html`."""

import html
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

VOID = frozenset({"br", "img", "link", "meta"})
URL = re.compile(r"(https?://[^\s<>\"'),;]+)")
MISSING = "–"


class Html(str):
    """Markup that may be inserted as it is."""

    __slots__ = ()


def escape(text: object) -> Html:
    """Any text as markup that shows it; lone surrogates, which no file can hold, become "?"."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(str(text).encode(errors="replace").decode()))


def join(parts: Iterable[object]) -> Html:
    """The parts one after the other; None is left out."""
    return Html("".join(escape(part) for part in parts if part is not None))


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """One element: `element("p", "a < b", class_="note")`.

    An underscore at the end of an attribute's name is dropped, others become hyphens; None leaves the attribute
    out, True writes it without a value.
    """
    written = []
    for key, value in attributes.items():
        if value is None:
            continue
        bare = key.rstrip("_").replace("_", "-")
        written.append(f" {bare}" if value is True else f' {bare}="{escape(value)}"')
    opening = f"<{name}{''.join(written)}>"
    return Html(opening if name in VOID else f"{opening}{join(children)}</{name}>")


def linked(text: str) -> Html:
    """Text with its http addresses as links, shown without "https://"."""
    parts: list[object] = list(URL.split(text))
    for place in range(1, len(parts), 2):
        address = str(parts[place])
        shown = address.split("://", 1)[1].removesuffix("/")
        parts[place] = element("a", shown, href=address, rel="noreferrer")
    return join(parts)


def number(value: object, digits: int = 3) -> str:
    """A number for people, with a true minus sign; a dash for what is missing or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return MISSING
    text = str(value) if isinstance(value, int) else f"{value:.{digits}f}"
    return text.replace("-", "−")


def mean_cell(found: Mapping[str, float] | None, digits: int = 2) -> Html | str:
    """`mean` with the interval from `low` to `high` below it, for a cell of a table."""
    if found is None:
        return MISSING
    limits = f"{number(found['low'], digits)} to {number(found['high'], digits)}"
    interval = element("span", limits, class_="hint", style="display:block;white-space:nowrap")
    return join([element("b", number(found["mean"], digits)), interval])


def moment(value: object) -> str:
    """An ISO time as "2 May 2026, 14:03 UTC"; the text itself where it is none."""
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value) if value else MISSING
    return f"{time.day} {time:%B %Y, %H:%M} {time.tzname() or ''}".strip()


def folded(summary: str, *children: object, open_: bool = False) -> Html:
    """A part of the page that opens on a click."""
    return element("details", element("summary", summary), *children, open=open_ or None)


def table(head: Iterable[object], rows: Iterable[Iterable[object]], class_: str | None = None) -> Html:
    """A table with column heads; a row's first cell is its head. Cells may be `Html`."""
    top = element("tr", *(element("th", cell, scope="col") for cell in head))
    body = []
    for first, *rest in rows:
        body.append(element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest)))
    return element("table", element("thead", top), element("tbody", *body), class_=class_)
