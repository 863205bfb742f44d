"""Target texts of prompt inversion."""

from pathlib import Path

import pytest

from fuse_repro.data.texts import TextData, TextItem
from fuse_repro.errors import UsageError


def test_texts_from_a_list_a_text_file_and_json_lines(tmp_path: Path) -> None:
    text, lines = tmp_path / "a.txt", tmp_path / "b.jsonl"
    text.write_text("A cat.\n\n  Two   dogs.\n")
    lines.write_text('{"text": "A cat."}\n{"text": "Two dogs.", "id": "dogs"}\n')
    given = TextData(texts=["A cat.", "Two dogs."])
    assert given.items == (TextItem("1", ("A cat.",)), TextItem("2", ("Two dogs.",)))
    assert TextData(text).items == given.items
    assert [(item.id, item.texts[0]) for item in TextData(lines).items] == [
        ("1", "A cat."),
        ("dogs", "Two dogs."),
    ]
    assert TextData(text, group="all").items == (TextItem("all", ("A cat.", "Two dogs.")),)
    assert TextData(text, limit=1).items == given.items[:1]
    assert list(given.predict_dataloader()) == list(given.items)


def test_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    for content, said in (
        ("{}", r"b\.jsonl:1: write an object like"),
        ("[", r"b\.jsonl:1: write an object like"),
        ('{"text": " "}', "is not allowed: a text"),
        ('{"text": "a", "id": 1}\n{"text": "b", "id": 1}', "given to one text only"),
        ("", "at least one text"),
    ):
        path.write_text(content)
        with pytest.raises(UsageError, match=said):
            TextData(path)
    with pytest.raises(UsageError, match="either a file or"):
        TextData()
    with pytest.raises(UsageError, match="either a file or"):
        TextData(path, texts=["a"])
    with pytest.raises(UsageError, match=r"a \.txt or \.jsonl file"):
        TextData(tmp_path / "a.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        TextData(tmp_path / "a.txt")
    with pytest.raises(UsageError, match=r"dataset\.group='some'"):
        TextData(texts=["a"], group="some")
    with pytest.raises(UsageError, match="not empty"):
        TextData(texts=["a", " "])
