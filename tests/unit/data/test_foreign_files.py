"""Data as people have it: read where it can be, and one line about what is wrong with it where it cannot."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fuse_repro.data import photo as photo_files
from fuse_repro.data import photo_folder
from fuse_repro.data.classification import TextClassification
from fuse_repro.data.coco import CocoData
from fuse_repro.data.corpora import TextFileCorpus
from fuse_repro.data.images import ImageCaptionData, load_image
from fuse_repro.data.lama import LamaFacts
from fuse_repro.data.nocaps import NoCapsData
from fuse_repro.data.senticap import SentiCapData
from fuse_repro.data.sentiment_lexicon import labelled_file
from fuse_repro.data.texts import TextData
from fuse_repro.errors import UsageError

DEEP = "[" * 200_000
LONG = "x" * 5000


def photo(path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), "red").save(path, **options)
    return path


def lama(folder: Path, facts: str) -> LamaFacts:
    (folder / "TREx").mkdir(parents=True)
    relation = {"relation": "P36", "template": "The capital of [X] is [Y] .", "label": "capital"}
    (folder / "relations.jsonl").write_text(json.dumps(relation) + "\n")
    (folder / "lpaqa_train").mkdir()
    (folder / "lpaqa_train" / "P36.jsonl").write_text('{"sub_label": "Elsewhere", "obj_label": "Lima"}')
    (folder / "TREx" / "P36.jsonl").write_text(facts, encoding="utf-8")
    (folder / "common_vocab_cased.txt").write_text("\ufeffSkopje\nLima\n", encoding="utf-8")
    return LamaFacts(folder)


def labelled(folder: Path, name: str, content: bytes) -> TextClassification:
    folder.mkdir(exist_ok=True)
    for split in ("train", "dev"):
        (folder / f"{split}.csv").write_text(f'"1","{split}"\n')
    (folder / name).write_bytes(content)
    files = {"train": "train.csv", "dev": "dev.csv", "test": name}
    return TextClassification("news", folder, files, ["one", "two", "three"], "[X] [Y]")


def test_a_separator_inside_a_fact_is_part_of_it(tmp_path: Path) -> None:
    rows = [("North\u2028Macedonia", "Skopje"), ("Pe\ud83dru", "Lima")]
    facts = [
        json.dumps({"sub_label": one, "obj_label": two}, ensure_ascii="\ud83d" in one) for one, two in rows
    ]
    (task,) = lama(tmp_path / "a", "\n".join(facts) + "\n").tasks()
    found = {item.text for item in task.splits["test"]}
    assert found == {"North\u2028Macedonia", "Pe\ufffdru"}
    assert task.answers == ("Skopje", "Lima")


def test_a_mark_and_a_long_field_of_a_csv(tmp_path: Path) -> None:
    """The mark hid the first label, and a field of more than 131,072 characters was an error of the csv module."""
    content = b'\xef\xbb\xbf"3","A title","A text"\n"1","' + b"word " * 28_000 + b'"\n"2","two\nlines"\n'
    (task,) = labelled(tmp_path, "test.csv", content).tasks()
    found = {item.answer: item.text for item in task.splits["test"]}
    assert found["three"] == "A title A text"
    assert found["two"] == "two lines"
    assert len(found["one"].split()) == 28_000


def test_a_tsv_is_cut_at_line_feeds_alone(tmp_path: Path) -> None:
    content = "\ufeffsentence\tlabel\r\na\u2028b\x0bc\t2\r\n".encode()
    (task,) = labelled(tmp_path, "test.tsv", content).tasks()
    assert [(item.text, item.answer) for item in task.splits["test"]] == [("a b c", "three")]
    (tmp_path / "examples.tsv").write_bytes("text\tlabel\r\na\u2028b\t1\r\n".encode())
    assert labelled_file(tmp_path / "examples.tsv") == [("a\u2028b", "positive")]


@pytest.mark.parametrize("mixed", [("9", 25), (9, "000000000025"), ("9", "25")])
def test_the_numbers_of_coco_may_be_text(mixed: tuple[Any, Any], tmp_path: Path) -> None:
    """An image whose number was text in one place lost its references without a word."""
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in (9, 25)]
    notes = [{"image_id": image, "id": str(place), "caption": "A."} for place, image in enumerate(mixed)]
    value = {"images": images, "annotations": notes, "licenses": None}
    (tmp_path / "captions_val2014.json").write_text(json.dumps(value))
    (tmp_path / "nocaps_val_4500_captions.json").write_text(json.dumps(value))
    photo(tmp_path / "9.jpg")
    for data in (CocoData(tmp_path, "val2014"), NoCapsData(tmp_path)):
        assert [(item.id, item.references) for item in data.items] == [("9", ("A.",)), ("25", ("A.",))]
        assert data.items[0].path == tmp_path / "9.jpg", "photographs may lie beside the file"


@pytest.mark.parametrize(
    ("image", "note"),
    [
        ({"id": "nine"}, {}),
        ({"id": None}, {}),
        ({"id": [1]}, {}),
        ({"id": "9" * 5000}, {}),
        ({"file_name": "../../secret.jpg"}, {}),
        ({"file_name": "a\0b"}, {}),
        ({}, {"caption": 3}),
        ({}, {"id": "x"}),
        ({}, {"image_id": {}}),
    ],
)
def test_entries_of_coco_that_are_not_in_the_format(
    image: dict[str, Any], note: dict[str, Any], tmp_path: Path
) -> None:
    value = {
        "images": [{"id": 1, "file_name": "a.jpg"} | image],
        "annotations": [{"image_id": 1, "id": 1, "caption": "A."} | note],
    }
    for name in ("captions_val2014.json", "nocaps_val_4500_captions.json"):
        (tmp_path / name).write_text(json.dumps(value))
    for read in (lambda: CocoData(tmp_path, "val2014"), lambda: NoCapsData(tmp_path)):
        with pytest.raises(UsageError) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_folder_of_photos_says_what_it_does_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hidden files were taken for photographs, and other kinds vanished without a word."""
    for module in (photo_files, photo_folder):
        monkeypatch.setattr(module, "can_read_heif", lambda: False)
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "d.tiff")
    photo(tmp_path / "e.jfif", format="JPEG")
    photo(tmp_path / "sub" / "f.png")
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7")
    photo(tmp_path / "c.avif")
    for name in ("b.HEIC", "b2.heic", "c.jxl", ".g.heic", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.png")
    data = ImageCaptionData(tmp_path)
    items = data.items
    assert [item.path.name for item in items] == ["a.jpg", "c.avif", "d.tiff", "e.jfif"]
    assert all(load_image(item.path).size == (6, 4) for item in items)
    said = capsys.readouterr().err
    assert (
        f"not read in {tmp_path}: 2 .heic, 1 .jxl, 1 .png that is no file, 1 folder; allowed are .png, .jpg"
        in said
    )
    assert said.endswith("pip install 'fuse_repro[heif]'; dataset.recursive=true reads folders, too\n")
    assert said.count("\n") == 1
    assert data.not_read == {".heic": 2, ".jxl": 1, ".png that is no file": 1, "folder": 1}


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "images/../../a.png"])
def test_photos_outside_need_to_be_allowed(name: str, tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps({"file": name}))
    with pytest.raises(UsageError, match=r"list\.jsonl:1: .*or set dataset\.allow_outside=true$"):
        ImageCaptionData(path)
    assert ImageCaptionData(path, allow_outside=True).items[0].path == tmp_path / name


@pytest.mark.parametrize("value", ["", 1.5, True, [1], {"a": 1}])
def test_ids_are_text_or_whole_numbers(value: object, tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps({"file": "a.png", "text": "A cat.", "id": value}))
    for read in (ImageCaptionData, TextData):
        with pytest.raises(
            UsageError, match=r'list\.jsonl:1: "id"=.* is not allowed: a text or a whole number'
        ):
            read(path)


def test_texts_of_odd_letters(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_bytes('\ufeff{"text": "a\u2028b \\ud83d", "id": "\\udcff"}\n'.encode())
    (item,) = TextData(path).items
    assert (item.id, item.texts) == ("\udcff", ("a b \ufffd",))
    path.write_text('{"file": "a.png", "captions": ["half \\ud83d"]}')
    assert ImageCaptionData(path).items[0].references == ("half \ufffd",)


READERS: dict[str, Callable[[Path], object]] = {
    "photos.jsonl": ImageCaptionData,
    "texts.jsonl": TextData,
    "texts.txt": TextData,
    "words.txt": lambda path: TextFileCorpus(path).words(),
    "examples.tsv": labelled_file,
    "captions_val2014.json": lambda path: CocoData(path.parent, "val2014"),
    "nocaps_val_4500_captions.json": lambda path: NoCapsData(path.parent),
    "senticap_dataset.json": lambda path: SentiCapData(path.parent),
    "senticap_dataset.csv": lambda path: SentiCapData(path.parent, split="all"),
    "photo.png": load_image,
    "test.csv": lambda path: TextClassification(
        "news", path.parent, dict.fromkeys(("train", "dev", "test"), path.name), ["a"], "[X] [Y]"
    ).tasks(),
}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_refuses_what_is_no_file_of_its_kind(name: str, tmp_path: Path) -> None:
    """A named pipe made them wait for ever; nested JSON was a RecursionError."""
    path = tmp_path / name
    makers: list[Callable[[], object]] = [
        lambda: os.mkfifo(path),
        path.mkdir,
        lambda: path.write_text(DEEP),
        lambda: path.write_bytes(b"\xff\xfe\0"),
        lambda: path.write_text("[1, 2]"),
        lambda: path.symlink_to("/dev/zero"),
    ]
    for make in makers:
        make()
        if not (path.suffix == ".txt" and path.is_file()):  # any text is text
            with pytest.raises(UsageError) as caught:
                READERS[name](path)
            assert "\n" not in str(caught.value)
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("read", [ImageCaptionData, TextData, load_image, labelled_file, LamaFacts])
@pytest.mark.parametrize("name", [f"{LONG}.jsonl", f"{LONG}.png", "a\0b.jsonl", "a\0b.png"])
def test_paths_that_no_file_can_have(read: Callable[[Path], object], name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)
