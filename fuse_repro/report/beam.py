"""The beam's path: which hypotheses were kept at each step, where they came from, and which one won."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.report.markup import Html, element, folded, join, number, table

Step = Mapping[str, Any]
COLUMN, ROW, BOX_WIDTH, BOX_HEIGHT, MARGIN = 138, 46, 116, 36, 8
LETTERS = 16


def winning_path(steps: Sequence[Step], text: str) -> dict[int, int]:
    """Place in the beam, at each step, of the hypothesis that became `text`.

    Followed back from the last step, where the winner is the hypothesis with this text, or else the best.
    """
    if not steps or not steps[-1]["beam"]:
        return {}
    beam = steps[-1]["beam"]
    named = [place for place, row in enumerate(beam) if row["text"] == text]
    values = [math.inf if row["objective"] is None else row["objective"] for row in beam]
    place = named[0] if named else values.index(min(values))
    path = {}
    for step in range(len(steps) - 1, -1, -1):
        if not 0 <= place < len(steps[step]["beam"]):
            break
        path[step] = place
        place = steps[step]["beam"][place]["parent"]
    return path


def added(steps: Sequence[Step], step: int, place: int, prefix: str) -> str:
    """What this hypothesis added to its parent; its whole text where it does not continue the parent."""
    row = steps[step]["beam"][place]
    before = prefix if step == 0 else _parent_text(steps[step - 1]["beam"], row["parent"])
    if before is None or not row["text"].startswith(before):
        return row["text"].strip()
    return row["text"][len(before) :].strip() or ("(end)" if row["finished"] else "␣")


def beam_section(steps: Sequence[Step], prefix: str, text: str, terms: Sequence[str]) -> Html | None:
    """The beam as a drawn tree, and folded below it every hypothesis in a table; None without steps."""
    path = winning_path(steps, text)
    if not path:
        return None
    tree = element(
        "div",
        _tree(steps, prefix, path),
        class_="tree",
        tabindex=0,
        role="region",
        aria_label="Beam, scrollable",
    )
    hint = "The hypotheses kept at each step, with their objective; the path that won is coloured."
    parts = [element("h3", "The beam's path"), element("p", hint, class_="hint"), tree]
    listing = folded("Every hypothesis, step by step", _listing(steps, path, terms))
    return element("section", *parts, listing, class_="beam")


def _parent_text(beam: Sequence[Mapping[str, Any]], parent: int) -> str | None:
    return beam[parent]["text"] if 0 <= parent < len(beam) else None


def _tree(steps: Sequence[Step], prefix: str, path: Mapping[int, int]) -> Html:
    rows = max(len(step["beam"]) for step in steps)
    width, height = (len(steps) + 1) * COLUMN - (COLUMN - BOX_WIDTH) + 2 * MARGIN, rows * ROW + 2 * MARGIN
    root = path.get(0, 0)
    edges, boxes = [], [_box(-1, root, prefix, "prefix", f"prefix: {prefix}", True)]
    for number_of_step, step in enumerate(steps):
        for place, row in enumerate(step["beam"]):
            wins = path.get(number_of_step) == place
            start = root if number_of_step == 0 else row["parent"]
            edges.append((wins, _edge(number_of_step, start, place, wins)))
            tip = f"{row['text']} · objective {number(row['objective'])}"
            label = added(steps, number_of_step, place, prefix)
            boxes.append(_box(number_of_step, place, label, number(row["objective"]), tip, wins))
    words = " → ".join(added(steps, step, path[step], prefix) for step in sorted(path))
    label = f"Beam of up to {rows} hypotheses over {len(steps)} steps; the winning path adds: {words}"
    drawn = [edge for _, edge in sorted(edges, key=lambda pair: pair[0])]
    box = f"0 0 {width} {height}"
    return element(
        "svg", *drawn, *boxes, viewBox=box, width=width, height=height, role="img", aria_label=label
    )


def _corner(step: int, place: int) -> tuple[int, int]:
    return MARGIN + (step + 1) * COLUMN, MARGIN + place * ROW + (ROW - BOX_HEIGHT) // 2


def _edge(step: int, parent: int, place: int, wins: bool) -> Html:
    left, from_y = _corner(step - 1, parent)
    right, to_y = _corner(step, place)
    left, middle = left + BOX_WIDTH, BOX_HEIGHT // 2
    bend = (left + right) // 2
    curve = (
        f"M{left} {from_y + middle}C{bend} {from_y + middle} {bend} {to_y + middle} {right} {to_y + middle}"
    )
    return element("path", d=curve, class_="edge won" if wins else "edge")


def _box(step: int, place: int, label: str, value: str, tip: str, wins: bool) -> Html:
    x, y = _corner(step, place)
    middle = x + BOX_WIDTH // 2
    return element(
        "g",
        element("title", tip),
        element("rect", x=x, y=y, width=BOX_WIDTH, height=BOX_HEIGHT, rx=7),
        element("text", shortened(label), x=middle, y=y + 16, class_="word"),
        element("text", value, x=middle, y=y + 29, class_="value"),
        class_="node won" if wins else "node",
    )


def shortened(text: str, room: int = LETTERS) -> str:
    """`text`, cut with an ellipsis to `room` letters; East Asian wide letters count twice."""
    used = 0
    for place, letter in enumerate(text):
        used += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if used > room:
            return text[: max(place - 1, 1)] + "…"
    return text


def _listing(steps: Sequence[Step], path: Mapping[int, int], terms: Sequence[str]) -> Html:
    head = ["step", "from", "text", "objective", *terms]
    rows = []
    for step, content in enumerate(steps):
        for place, row in enumerate(content["beam"]):
            mark = "finished" if row["finished"] else None
            text = join([row["text"], " ", element("small", mark) if mark else None])
            text = element("strong", text) if path.get(step) == place else text
            origin = "prefix" if step == 0 else f"{step}.{row['parent'] + 1}"
            values = [number(row["objective"]), *(number(row["terms"].get(term)) for term in terms)]
            rows.append([f"{step + 1}.{place + 1}", origin, text, *values])
    return element("div", table(head, rows, class_="listing"), class_="scroll")
