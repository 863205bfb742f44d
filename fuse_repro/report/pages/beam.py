"""The beam's path: which hypotheses were kept at each step, where they came from, and which one won."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fuse_repro.report.formats import number

Step = Mapping[str, Any]
COLUMN, ROW, BOX_WIDTH, BOX_HEIGHT, MARGIN = 138, 46, 116, 36, 8
LETTERS = 16


@dataclass(frozen=True)
class Box:
    """One hypothesis in the drawn tree.

    Attributes:
        x: of the left edge, in pixels.
        y: of the upper edge, in pixels.
        label: what the hypothesis added to its parent.
        value: its objective, as text.
        tip: its whole text and objective.
        wins: whether it is on the winning path.
    """

    x: int
    y: int
    label: str
    value: str
    tip: str
    wins: bool


@dataclass(frozen=True)
class Edge:
    """A curve from a hypothesis to one that continues it.

    Attributes:
        curve: SVG path.
        wins: whether it is on the winning path.
    """

    curve: str
    wins: bool


@dataclass(frozen=True)
class Tree:
    """The beam as a drawing.

    Attributes:
        width: in pixels.
        height: in pixels.
        box_width: of every hypothesis, in pixels.
        box_height: of every hypothesis, in pixels.
        label: the tree in words.
        edges: winning ones last, so that they lie on top.
        boxes: one for the prefix and one for every hypothesis.
    """

    width: int
    height: int
    box_width: int
    box_height: int
    label: str
    edges: Sequence[Edge]
    boxes: Sequence[Box]


@dataclass(frozen=True)
class Row:
    """One hypothesis in the listing.

    Attributes:
        step: its step and place, as "2.1".
        origin: the step and place of its parent, or "prefix".
        text: its whole text.
        finished: whether it ended.
        wins: whether it is on the winning path.
        values: its objective and every term, as text.
    """

    step: str
    origin: str
    text: str
    finished: bool
    wins: bool
    values: Sequence[str]


@dataclass(frozen=True)
class Beam:
    """The beam's path.

    Attributes:
        tree: as a drawing.
        head: the columns of the listing.
        rows: every hypothesis, step by step.
    """

    tree: Tree
    head: Sequence[str]
    rows: Sequence[Row]


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


def beam_path(steps: Sequence[Step], prefix: str, text: str, terms: Sequence[str]) -> Beam | None:
    """The beam as a tree to be drawn, and every hypothesis as a row; None without steps."""
    path = winning_path(steps, text)
    if not path:
        return None
    return Beam(
        _tree(steps, prefix, path), ["step", "from", "text", "objective", *terms], _rows(steps, path, terms)
    )


def _parent_text(beam: Sequence[Mapping[str, Any]], parent: int) -> str | None:
    return beam[parent]["text"] if 0 <= parent < len(beam) else None


def _tree(steps: Sequence[Step], prefix: str, path: Mapping[int, int]) -> Tree:
    rows = max(len(step["beam"]) for step in steps)
    width, height = (len(steps) + 1) * COLUMN - (COLUMN - BOX_WIDTH) + 2 * MARGIN, rows * ROW + 2 * MARGIN
    root = path.get(0, 0)
    edges, boxes = [], [_box(-1, root, prefix, "prefix", f"prefix: {prefix}", True)]
    for number_of_step, step in enumerate(steps):
        for place, row in enumerate(step["beam"]):
            wins = path.get(number_of_step) == place
            start = root if number_of_step == 0 else row["parent"]
            edges.append(Edge(_curve(number_of_step, start, place), wins))
            tip = f"{row['text']} · objective {number(row['objective'])}"
            label = added(steps, number_of_step, place, prefix)
            boxes.append(_box(number_of_step, place, label, number(row["objective"]), tip, wins))
    words = " → ".join(added(steps, step, path[step], prefix) for step in sorted(path))
    label = f"Beam of up to {rows} hypotheses over {len(steps)} steps; the winning path adds: {words}"
    drawn = sorted(edges, key=lambda edge: edge.wins)
    return Tree(width, height, BOX_WIDTH, BOX_HEIGHT, label, drawn, boxes)


def _corner(step: int, place: int) -> tuple[int, int]:
    return MARGIN + (step + 1) * COLUMN, MARGIN + place * ROW + (ROW - BOX_HEIGHT) // 2


def _curve(step: int, parent: int, place: int) -> str:
    left, from_y = _corner(step - 1, parent)
    right, to_y = _corner(step, place)
    left, middle = left + BOX_WIDTH, BOX_HEIGHT // 2
    bend = (left + right) // 2
    return (
        f"M{left} {from_y + middle}C{bend} {from_y + middle} {bend} {to_y + middle} {right} {to_y + middle}"
    )


def _box(step: int, place: int, label: str, value: str, tip: str, wins: bool) -> Box:
    return Box(*_corner(step, place), shortened(label), value, tip, wins)


def shortened(text: str, room: int = LETTERS) -> str:
    """`text`, cut with an ellipsis to `room` letters; East Asian wide letters count twice."""
    used = 0
    for place, letter in enumerate(text):
        used += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if used > room:
            return text[: max(place - 1, 1)] + "…"
    return text


def _rows(steps: Sequence[Step], path: Mapping[int, int], terms: Sequence[str]) -> list[Row]:
    rows = []
    for step, content in enumerate(steps):
        for place, row in enumerate(content["beam"]):
            origin = "prefix" if step == 0 else f"{step}.{row['parent'] + 1}"
            values = [number(row["objective"]), *(number(row["terms"].get(term)) for term in terms)]
            name, wins = f"{step + 1}.{place + 1}", path.get(step) == place
            rows.append(Row(name, origin, row["text"], bool(row["finished"]), wins, values))
    return rows
