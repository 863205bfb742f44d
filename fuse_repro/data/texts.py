"""Texts whose embeddings a prompt is searched for (prompt inversion), one item at a time for a predict loop."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuse_repro.data.item_data import ItemData
from fuse_repro.data.item_ids import item_id
from fuse_repro.errors import UsageError, quoted, require
from fuse_repro.storage.reading import json_lines, read_text, text_lines, whole_text

GROUPS = ("each", "all")


@dataclass(frozen=True)
class TextItem:
    """What one prompt is searched for.

    Attributes:
        id: for records.
        texts: one text, or several that one prompt should suit (a universal prompt).
    """

    id: str
    texts: tuple[str, ...]


class TextData(ItemData):
    """Target texts from a list, a .txt file with one text a line, or a .jsonl file.

    Every line of a .jsonl file is an object with `text` and, if wanted, `id`; ids default to the place in the
    file, from 1 on.

    Args:
        path: the file; None where `texts` are given.
        texts: the texts themselves.
        group: "each" text is an item of its own, or "all" together are one item.
        limit: only the first so many texts; None for all.

    Raises:
        UsageError: both or neither of `path` and `texts`, a file or line that is not as above, no text, or an
            id twice.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        texts: Sequence[str] | None = None,
        group: str = "each",
        limit: int | None = None,
    ) -> None:
        super().__init__()
        require(group in GROUPS, "dataset.group", group, f"one of {', '.join(GROUPS)}")
        require(
            limit is None or limit >= 1, "dataset.limit", limit, "a whole number from 1 on, or null for all"
        )
        one = (path is None) != (texts is None)
        require(
            one, "dataset.path", None if path is None else str(path), "either a file or dataset.texts=[...]"
        )
        rows = _numbered(list(texts)) if texts is not None else _read(Path(str(path)).expanduser())
        require(bool(rows), "dataset", str(path), "at least one text")
        rows = rows[:limit]
        twice = [name for name, count in Counter(name for name, _ in rows).items() if count > 1]
        require(not twice, "dataset: id", twice[:1], "given to one text only")
        if group == "all":
            self._items: tuple[TextItem, ...] = (TextItem("all", tuple(text for _, text in rows)),)
        else:
            self._items = tuple(TextItem(name, (text,)) for name, text in rows)

    @property
    def items(self) -> tuple[TextItem, ...]:
        """Every item, in the order of the predict loop."""
        return self._items


def _read(path: Path) -> list[tuple[str, str]]:
    require(path.suffix.lower() in (".txt", ".jsonl"), "dataset.path", str(path), "a .txt or .jsonl file")
    content = read_text(
        path,
        lambda why: UsageError(f"dataset.path={quoted(str(path))} cannot be read ({why}): give a UTF-8 file"),
    )
    if path.suffix.lower() == ".txt":
        return _numbered([line for line in text_lines(content) if line.strip()])
    return [_row(path, number, row) for number, row in json_lines(content, lambda n, _: _no_object(path, n))]


def _row(path: Path, number: int, row: Any) -> tuple[str, str]:
    if not isinstance(row, dict) or "text" not in row:
        raise _no_object(path, number)
    text = row["text"]
    require(isinstance(text, str) and bool(text.strip()), f'{path}:{number}: "text"', text, "a text")
    return item_id(row.get("id", number), f"{path}:{number}"), " ".join(whole_text(text).split())


def _no_object(path: Path, number: int) -> UsageError:
    return UsageError(f'{path}:{number}: write an object like {{"text": "A cat."}} on every line')


def _numbered(texts: Sequence[str]) -> list[tuple[str, str]]:
    for text in texts:
        require(
            isinstance(text, str) and bool(text.strip()), "dataset.texts", text, "texts that are not empty"
        )
    return [(str(number), " ".join(whole_text(text).split())) for number, text in enumerate(texts, start=1)]
