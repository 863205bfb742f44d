"""Readers of published caption data sets: formats, splits, limits, and what is said where files are missing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fuse_repro.data.coco import CocoData
from fuse_repro.data.nocaps import NoCapsData
from fuse_repro.data.photo import load_image
from fuse_repro.data.senticap import SentiCapData
from fuse_repro.errors import UsageError

COCO_NAME = "COCO_val2014_{:012d}.jpg"


def photo(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), "navy").save(path)
    return path.name


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    rows, images, annotations = [], [], []
    for number, split in ((42, "test"), (9, "test"), (7, "val"), (5, "restval")):
        name = photo(tmp_path / "val2014" / COCO_NAME.format(number))
        sentences = [{"raw": f"A cat {number}. "}, {"raw": "Two dogs"}]
        rows.append(
            {
                "filepath": "val2014",
                "filename": name,
                "cocoid": number,
                "split": split,
                "sentences": sentences,
            }
        )
        images.append({"id": number, "file_name": name, "license": 4, "flickr_url": f"http://f/{number}"})
        annotations += [
            {"id": 10 * number + place, "image_id": number, "caption": sentence["raw"]}
            for place, sentence in reversed(list(enumerate(sentences)))
        ]
    write(tmp_path / "dataset_coco.json", {"images": rows, "dataset": "coco"})
    licences = [{"id": 4, "name": "Attribution License"}]
    write(
        tmp_path / "annotations/captions_val2014.json",
        {"images": images, "annotations": annotations, "licenses": licences},
    )
    return tmp_path


def test_karpathys_split_and_the_original_annotations_agree(coco: Path) -> None:
    test, whole = CocoData(coco), CocoData(coco, split="val2014")
    assert [item.id for item in test.items] == ["9", "42"]
    assert [item.id for item in whole.items] == ["5", "7", "9", "42"]
    assert test.items[1].references == whole.items[3].references == ("A cat 42.", "Two dogs")
    assert test.items[1].path == whole.items[3].path
    assert load_image(test.items[0].path).size == (8, 6)
    assert (whole.items[0].license, whole.items[0].source) == ("Attribution License", "http://f/5")
    assert [item.id for item in CocoData(coco, split="restval").items] == ["5"]
    assert [item.id for item in CocoData(coco, split="val2014", limit=2).items] == ["5", "7"]
    assert next(iter(test.predict_dataloader())) == test.items[0]


@pytest.fixture
def nocaps(tmp_path: Path) -> Path:
    images = [
        {"id": number, "file_name": photo(tmp_path / "images" / f"{number:04}.jpg"), "domain": domain}
        for number, domain in ((3, "out-domain"), (1, "in-domain"), (2, "near-domain"), (0, "out-domain"))
    ]
    annotations = [
        {"id": 2 * row["id"] + place, "image_id": row["id"], "caption": f"Caption {place} "}
        for row in images
        for place in (1, 0)
    ]
    write(tmp_path / "nocaps_val_4500_captions.json", {"images": images, "annotations": annotations})
    write(tmp_path / "nocaps_test_image_info.json", {"images": images[:2]})
    return tmp_path


def test_nocaps_by_domain(nocaps: Path) -> None:
    data = NoCapsData(nocaps)
    assert [item.id for item in data.items] == ["0", "1", "2", "3"]
    assert data.items[0].references == ("Caption 0", "Caption 1")
    assert data.domains["2"] == "near-domain"
    assert [item.id for item in NoCapsData(nocaps, domain="out-domain").items] == ["0", "3"]
    assert [item.id for item in NoCapsData(nocaps, domain="out-domain", limit=1).items] == ["0"]
    assert [item.references for item in NoCapsData(nocaps, split="test").items] == [(), ()]


ROWS = [
    (1, "test", 1, "a lovely cat"),
    (1, "test", 0, "a nasty cat"),
    (2, "test", 0, "a broken chair"),
    (3, "val", 1, "a nice day"),
    (1, "test", 1, "a cute cat"),
]


def senticap_json(folder: Path) -> None:
    images = [
        {
            "filename": COCO_NAME.format(number),
            "split": split,
            "sentences": [
                {"raw": text, "sentiment": mood} for n, s, mood, text in ROWS if (n, s) == (number, split)
            ],
        }
        for number, split in dict.fromkeys((row[0], row[1]) for row in ROWS)
    ]
    write(folder / "senticap_dataset.json", {"dataset": "senticap", "images": images})


def senticap_csv(folder: Path) -> None:
    """As the authors' reader writes it."""
    with (folder / "senticap_dataset.csv").open("w") as file:
        file.write("filename,is_positive_sentiment,caption\n")
        for number, _, mood, text in ROWS:
            file.write(f'{COCO_NAME.format(number)},{mood},"{text}"\n')


def test_senticap_by_sentiment(tmp_path: Path) -> None:
    photo(tmp_path / "val2014" / COCO_NAME.format(1))
    senticap_json(tmp_path)
    positive, negative = SentiCapData(tmp_path), SentiCapData(tmp_path, sentiment="negative")
    assert [(item.id, item.references) for item in positive.items] == [("1", ("a lovely cat", "a cute cat"))]
    assert [(item.id, item.references) for item in negative.items] == [
        ("1", ("a nasty cat",)),
        ("2", ("a broken chair",)),
    ]
    assert load_image(positive.items[0].path)
    assert [item.id for item in SentiCapData(tmp_path, split="val").items] == ["3"]
    assert len(SentiCapData(tmp_path, sentiment="negative", limit=1).items) == 1


@pytest.mark.parametrize("make", [senticap_json, senticap_csv])
def test_all_of_senticap_reads_alike_from_both_files(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path)
    for sentiment, mood in (("positive", 1), ("negative", 0)):
        found = {
            item.id: item.references
            for item in SentiCapData(tmp_path, sentiment=sentiment, split="all").items
        }
        expected: dict[str, tuple[str, ...]] = {}
        for number, _, own, text in ROWS:
            if own == mood:
                expected[str(number)] = (*expected.get(str(number), ()), text)
        assert found == expected


def test_the_csv_of_senticap_has_no_splits(tmp_path: Path) -> None:
    senticap_csv(tmp_path)
    with pytest.raises(UsageError, match=r"split='test' is not allowed: all for senticap_dataset\.csv"):
        SentiCapData(tmp_path)


@pytest.mark.parametrize(
    ("reader", "site", "file"),
    [
        (CocoData, "cocodataset.org", "dataset_coco.json"),
        (lambda path: CocoData(path, split="val2017"), "cocodataset.org", "captions_val2017.json"),
        (NoCapsData, "nocaps.org", "nocaps_val_4500_captions.json"),
        (SentiCapData, "senticap.html", "senticap_dataset.json or senticap_dataset.csv"),
    ],
)
def test_a_missing_data_set_is_one_clear_message(
    reader: Callable, site: str, file: str, tmp_path: Path
) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError) as caught:
            reader(folder)
        message = str(caught.value)
        assert f"{folder} holds no" in message
        assert site in message
        assert file in message
        assert "its folder must hold" in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("dataset_coco.json", "{", "cannot be read"),
        ("dataset_coco.json", "[]", "has no list 'images'"),
        (
            "dataset_coco.json",
            '{"images": [{"split": "test"}]}',
            "an image of dataset_coco.json has no 'filepath'",
        ),
    ],
)
def test_damaged_files_are_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=said):
        CocoData(tmp_path)


def test_settings_out_of_range(coco: Path, nocaps: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset\.split='dev'.*restval"):
        CocoData(coco, split="dev")
    with pytest.raises(UsageError, match="a split that the file has photographs of"):
        CocoData(coco, split="train")
    with pytest.raises(UsageError, match="limit=0"):
        CocoData(coco, limit=0)
    with pytest.raises(UsageError, match=r"dataset\.domain='far'.*in-domain"):
        NoCapsData(nocaps, domain="far")
    with pytest.raises(UsageError, match=r"dataset\.sentiment='neutral'"):
        SentiCapData(coco, sentiment="neutral")


def test_real_photographs_and_captions_in_both_of_cocos_formats(shared_data: Path, tmp_path: Path) -> None:
    lines = (shared_data / "coco/images.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines][:12]
    (tmp_path / "images").mkdir()
    for row in rows:
        shutil.copy(shared_data / "coco/images" / row["file"], tmp_path / "images" / row["file"])
    karpathy = [
        {
            "filepath": f"{row['coco2014']}2014",
            "filename": row["file"],
            "cocoid": row["image_id"],
            "split": "test",
            "sentences": [{"raw": caption} for caption in row["captions"]],
        }
        for row in rows
    ]
    write(tmp_path / "dataset_coco.json", {"images": karpathy})
    images = [{"id": row["image_id"], "file_name": row["file"]} for row in rows]
    annotations = [
        {"id": 100 * place + number, "image_id": row["image_id"], "caption": caption}
        for place, row in enumerate(rows)
        for number, caption in enumerate(row["captions"])
    ]
    write(tmp_path / "captions_val2014.json", {"images": images, "annotations": annotations})
    first, second = CocoData(tmp_path), CocoData(tmp_path, split="val2014")
    assert first.items == second.items
    assert len(first.items) == 12
    for item in first.items:
        assert len(item.references) >= 5
        assert min(load_image(item.path).size) > 100
