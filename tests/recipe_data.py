"""The papers' data sets in small, each in the layout in which it is published."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

CAPTIONS = ("A cat on a table.", "A dog by the river.")
FACTS = (("Paris", "the"), ("Tokyo", "a"), ("Rome", "the"), ("Oslo", "a"))


def coco(folder: Path) -> Path:
    """MS-COCO with Karpathy's split."""
    rows = []
    for number, split in enumerate(("test", "val"), start=1):
        name = f"COCO_val2014_{number:012d}.jpg"
        _photo(folder / "val2014" / name)
        sentences = [{"raw": caption} for caption in CAPTIONS]
        row = {"filepath": "val2014", "filename": name, "cocoid": number, "split": split}
        rows.append({**row, "sentences": sentences})
    return _json(folder / "dataset_coco.json", {"images": rows})


def nocaps(folder: Path) -> Path:
    """NoCaps' validation set."""
    _photo(folder / "images" / "0a.jpg")
    image = {"id": 7, "file_name": "0a.jpg", "domain": "in-domain", "coco_url": "none"}
    annotations = [{"id": n, "image_id": 7, "caption": caption} for n, caption in enumerate(CAPTIONS)]
    return _json(folder / "nocaps_val_4500_captions.json", {"images": [image], "annotations": annotations})


def senticap(folder: Path) -> Path:
    """SentiCap: both sentiments of one photograph."""
    name = "COCO_val2014_000000000003.jpg"
    _photo(folder / "val2014" / name)
    sentences = [{"sentiment": n, "raw": caption} for n, caption in enumerate(CAPTIONS)]
    images = [{"filename": name, "split": "test", "sentences": sentences}]
    return _json(folder / "senticap_dataset.json", {"images": images})


def lama(folder: Path) -> Path:
    """LAMA-TREx with training facts, as OptiPrompt releases it; one relation."""
    relation = {"relation": "P36", "template": "[X] is [Y] .", "label": "capital"}
    _lines(folder / "relation_metainfo" / "LAMA_relations.jsonl", [relation])
    _lines(folder / "LAMA-TREx" / "P36.jsonl", _facts(FACTS))
    _lines(folder / "lpaqa_train" / "P36.jsonl", _facts((f"New {name}", word) for name, word in FACTS * 2))
    words = folder / "common_vocabs" / "common_vocab_cased.txt"
    words.parent.mkdir(parents=True)
    words.write_text("a\nthe\n")
    return folder


def sst2(folder: Path) -> Path:
    """SST-2: 16-shot training and dev, the labelled test set."""
    for name in ("16-shot/16-13/train.tsv", "16-shot/16-13/dev.tsv", "test-labeled.tsv"):
        rows = [f"{Path(name).stem} film {number}\t{number % 2}" for number in range(4)]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return folder


def _facts(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"sub_label": subject, "obj_label": answer} for subject, answer in pairs]


def _photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 20), "green").save(path)


def _json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path.parent


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
