"""The page of a moved soft prompt: every row before and after, and what to expect of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.report.formats import MISSING, number, percent
from fuse_repro.report.pages.parts import Record, Tile

ROW = "moved row"
PLACES = {
    "prefix": "It stands in front of all tokens, where PEFT puts it.",
    "after_bos": "It stands behind the token that begins every text of the target. The file has that token as its "
    "first row, so give PEFT the text without it: tokenizer(text, add_special_tokens=False).",
    "postfix": "It stands between the text and the answer. PEFT does not know that place, and would put it in front.",
    "around": "Its first rows, as many as the number says, stand before the text, and the others behind it. PEFT does "
    "not know that place, and would put it in front.",
}
HEAD = [
    "row",
    "nearest words before",
    "nearest words after",
    "length before",
    "length after",
    "matching loss",
    "",
]


def is_move(records: Sequence[Record], results: Mapping[str, Any]) -> bool:
    """Whether these are the records or results of a moved prompt."""
    return results.get("runner") == "move" or any(record.get("kind") == ROW for record in records)


def move_content(records: Sequence[Record], results: Mapping[str, Any]) -> dict[str, Any]:
    """Tiles, the rows, accuracy before and after where there were data, and warnings."""
    rows = [record for record in records if record.get("kind") == ROW]
    return {
        "tiles": [
            Tile(str(len(rows)), "rows moved"),
            *_choice(results.get("choice")),
            *_arrival(results.get("arrival")),
            *_felt(results),
            *_accuracy(results),
        ],
        "models": f"{' + '.join(results.get('sources') or ['?'])} to {results.get('target', '?')}",
        "position": results.get("position", "?"),
        "place": PLACES.get(results.get("position", "").partition(":")[0], ""),
        "output": results.get("output", "?"),
        "head": HEAD,
        "rows": [_row(record) for record in rows],
        "far": [str(record["row"]) for record in rows if record.get("far")],
        "lonely": number(results["lonely"]) if "lonely" in results else MISSING,
    }


def _choice(found: Mapping[str, Any] | None) -> list[Tile]:
    """The map that `auto` took; the note has the others, best first."""
    if not found:
        return []
    by = {"round_trip": "by a round trip", "words": "by held-out words"}
    others = [name for name in found["candidates"] if name != found["chosen"]]
    return [Tile(found["chosen"], f"map chosen {by[found['criterion']]}", f"before {', '.join(others)}")]


def _arrival(found: Mapping[str, Any] | None) -> list[Tile]:
    if not found:
        return []
    note = f"of {found['words']} words that the map was fitted without"
    return [
        Tile(percent(found["recall"]) + "%", "held-out words arrive at themselves", note),
        Tile(number(found["cosine"]), "mean cosine to where they should be"),
    ]


def _felt(results: Mapping[str, Any]) -> list[Tile]:
    found, place = results.get("felt") or {}, results.get("position")
    if place not in found:
        return []
    others = [f"{number(value)} as {other}" for other, value in found.items() if other != place]
    return [
        Tile(number(found[place]), f"nats that it changes the next word by, as {place}", ", ".join(others))
    ]


def _accuracy(results: Mapping[str, Any]) -> list[Tile]:
    told = {"before": "right before, on the source", "after": "right after, on the target"}
    found = results.get("accuracy") or {}
    return [Tile(percent(found[k]["mean_over_relations"]) + "%", told[k]) for k in told if k in found]


def _row(record: Record) -> list[Any]:
    before, after = record["before"], record["after"]
    return [
        record["row"],
        _words(before),
        _words(after),
        number(before["length"]),
        number(after["length"]),
        number(record["matching_loss"]) if record.get("matching_loss") is not None else MISSING,
        "far from every word" if record.get("far") else "",
    ]


def _words(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{text.strip() or repr(text)} {cosine:.2f}" for text, cosine in row["words"][:3])
