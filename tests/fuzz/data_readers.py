"""Readers of data sets, texts, photographs and words."""

import csv
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import recipe_data
from PIL import Image

from fuse_repro.data.classification import TextClassification
from fuse_repro.data.coco import CocoData
from fuse_repro.data.corpora import TextFileCorpus
from fuse_repro.data.images import ImageCaptionData, load_image
from fuse_repro.data.lama import LamaFacts
from fuse_repro.data.nocaps import NoCapsData
from fuse_repro.data.senticap import SentiCapData
from fuse_repro.data.texts import TextData
from fuse_repro.errors import UsageError

from .attempt import Reader
from .samples import files_of

CAPTIONS = ("A cat on a table.", "Zwei Hunde, naß.")
SPLITS = ("train", "dev", "test")


def data_readers() -> list[Reader]:
    """All of them."""
    lama = files_of(recipe_data.lama)
    senticap = files_of(recipe_data.senticap)
    return [
        Reader(
            "photo list", _photo_list(), lambda folder: _photos(ImageCaptionData(folder / "photos.jsonl"))
        ),
        *(Reader(f"photo {name}", {name: photo}, _photo_file) for name, photo in _pictures().items()),
        Reader("texts jsonl", {"texts.jsonl": _lines(_texts())}, lambda f: TextData(f / "texts.jsonl").items),
        Reader(
            "texts txt",
            {"texts.txt": "\n".join(CAPTIONS).encode()},
            lambda f: TextData(f / "texts.txt").items,
        ),
        Reader("classification tsv", _tables("tsv"), lambda folder: _classes(folder, "tsv")),
        Reader("classification csv", _tables("csv"), lambda folder: _classes(folder, "csv")),
        Reader("words", {"words.txt": b"a the cat, a dog\nand the rest"}, _words),
        Reader("lama", lama, lambda folder: LamaFacts(folder).tasks()),
        Reader("coco karpathy", _without_photos(files_of(recipe_data.coco)), lambda f: CocoData(f).items),
        Reader("coco original", _coco_original(), lambda folder: CocoData(folder, "val2014").items),
        Reader("nocaps", _without_photos(files_of(recipe_data.nocaps)), lambda f: NoCapsData(f).items),
        Reader("senticap json", _without_photos(senticap), lambda folder: SentiCapData(folder).items),
        Reader("senticap csv", _senticap_csv(), lambda folder: SentiCapData(folder, split="all").items),
    ]


def _without_photos(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files without photographs, which these readers do not open."""
    return {name: content for name, content in files.items() if name.endswith((".json", ".csv"))}


def _texts() -> list[dict[str, Any]]:
    return [{"id": "one", "text": CAPTIONS[0]}, {"text": CAPTIONS[1]}, {"id": 3, "text": "x"}]


def _photo_list() -> dict[str, bytes]:
    rows = [
        {"file": "a.png", "captions": list(CAPTIONS), "id": "a", "license": "CC0", "source": "me"},
        {"file": "b.png", "image_id": 7, "license_url": "https://example.org", "flickr_url": "none"},
        {"file": "c.png"},
    ]
    return {"photos.jsonl": _lines(rows)}


def _photos(data: ImageCaptionData) -> None:
    """Every photograph of the list; one that cannot be read is a failed item, as in a run."""
    for item in data.items:
        with suppress(UsageError):
            load_image(item.path)


def _pictures() -> dict[str, bytes]:
    pictures = {}
    for name, form in (
        ("a.png", "PNG"),
        ("a.jpg", "JPEG"),
        ("a.webp", "WEBP"),
        ("a.bmp", "BMP"),
        ("a.gif", "GIF"),
    ):
        sink = io.BytesIO()
        Image.effect_mandelbrot((12, 10), (-2, -1.2, 1, 1.2), 8).save(sink, form)
        pictures[name] = sink.getvalue()
    return pictures


def _photo_file(folder: Path) -> None:
    (path,) = folder.iterdir()
    load_image(path)


def _tables(kind: str) -> dict[str, bytes]:
    tables = {}
    for split in SPLITS:
        if kind == "tsv":
            rows = ["sentence\tlabel", *(f"a {split} film {number}\t{number % 2}" for number in range(3))]
            tables[f"{split}.tsv"] = "\n".join(rows).encode()
        else:
            sink = io.StringIO()
            rows = [(1 + number % 2, f"a {split}, film", f"of {number}") for number in range(3)]
            csv.writer(sink, quoting=csv.QUOTE_ALL).writerows(rows)
            tables[f"{split}.csv"] = sink.getvalue().encode()
    return tables


def _classes(folder: Path, kind: str) -> None:
    files = {split: f"{split}.{kind}" for split in SPLITS}
    TextClassification("films", folder, files, ("bad", "good"), "[X] It was [Y] .").tasks()


def _words(folder: Path) -> None:
    TextFileCorpus(folder / "words.txt", size=2).words()


def _coco_original() -> dict[str, bytes]:
    image = {"id": 9, "file_name": "COCO_val2014_9.jpg", "license": 1, "flickr_url": "none"}
    annotations = [{"id": n, "image_id": 9, "caption": caption} for n, caption in enumerate(CAPTIONS)]
    value = {"images": [image, image | {"id": 10}], "annotations": annotations}
    value |= {"licenses": [{"id": 1, "name": "CC BY", "url": "none"}]}
    return {"annotations/captions_val2014.json": json.dumps(value).encode()}


def _senticap_csv() -> dict[str, bytes]:
    sink = io.StringIO()
    table = csv.writer(sink)
    table.writerow(("filename", "is_positive_sentiment", "caption"))
    table.writerows((f"COCO_val2014_{n}.jpg", n % 2, caption) for n, caption in enumerate(CAPTIONS * 2))
    return {"senticap_dataset.csv": sink.getvalue().encode()}


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
