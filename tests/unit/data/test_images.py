"""Photos and captions: reading, ids, the predict loop, and every kind of bad input in one line."""

import contextlib
import json
import struct
import zlib
from pathlib import Path

import numpy
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning import LightningModule, Trainer

from fuse_repro.data.images import ImageCaptionData, ImageItem, load_image
from fuse_repro.errors import UsageError

CONF = Path(__file__).parents[3] / "conf" / "dataset"


def photo(path: Path, size: tuple[int, int] = (6, 4), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = numpy.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".PNG"])
def test_every_format_loads_as_rgb(tmp_path: Path, suffix: str) -> None:
    data = ImageCaptionData(photo(tmp_path / f"cat{suffix}"))
    assert [item.id for item in data.items] == ["cat"]
    image = load_image(data.items[0].path)
    assert (image.mode, image.size) == ("RGB", (6, 4))


def test_exif_turns_the_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_image(photo(tmp_path / "turned.jpg", exif=exif)).size == (4, 6)


def test_transparency_lies_on_white_and_16_bits_are_scaled(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert load_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (2, 2), 0)
    palette.save(tmp_path / "palette.png", transparency=0)
    assert load_image(tmp_path / "palette.png").getpixel((0, 0)) == (255, 255, 255)
    Image.fromarray(numpy.full((2, 2), 128 * 256, dtype=numpy.uint16)).save(tmp_path / "deep.png")
    assert load_image(tmp_path / "deep.png").getpixel((0, 0)) == (128, 128, 128)


def bomb(path: Path) -> Path:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    return path


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    whole = photo(tmp_path / "whole.jpg", (64, 64)).read_bytes()
    (tmp_path / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    for path, message in [
        (tmp_path / "missing.png", r"missing\.png does not exist: give a readable png, jpg"),
        (tmp_path / "torn.jpg", r"torn\.jpg cannot be read \(.*truncated.*\): give a readable"),
        (tmp_path / "text.png", r"text\.png is not an image"),
        (tmp_path / "empty.png", r"empty\.png is not an image"),
        (tmp_path, r"cannot be read \(Is a directory\)"),
        (
            bomb(tmp_path / "bomb.png"),
            r"bomb\.png is too large for a photo: shrink it below 89 million pixels",
        ),
    ]:
        with pytest.raises(UsageError, match=message) as caught:
            load_image(path)
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_damaged_bytes_are_an_image_or_a_usage_error(tmp_path: Path) -> None:
    generator = numpy.random.default_rng(1)
    for suffix in (".png", ".jpg", ".gif", ".webp", ".bmp", ".tiff", ".avif"):
        whole = numpy.frombuffer(photo(tmp_path / f"whole{suffix}", (20, 20)).read_bytes(), dtype=numpy.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[generator.integers(0, len(whole), 4)] = generator.integers(0, 256, 4)
            path = tmp_path / f"damaged{suffix}"
            path.write_bytes(damaged.tobytes())
            with contextlib.suppress(UsageError):
                assert load_image(path).mode == "RGB"


def test_a_folder_is_sorted_and_flat(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "a.png", "below/c.png"):
        photo(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a photo")
    (tmp_path / "folder.png").mkdir()
    items = ImageCaptionData(tmp_path).items
    assert [item.path.name for item in items] == ["a.JPG", "a.png", "b.png"]
    assert [item.id for item in items] == ["a.JPG", "a.png", "b"]
    assert [item.id for item in ImageCaptionData(tmp_path, limit=1).items] == ["a.JPG"]


def test_jsonl_lines_become_items(tmp_path: Path) -> None:
    photo(tmp_path / "beside.png")
    photo(tmp_path / "images" / "below.png")
    path = jsonl(
        tmp_path / "list.jsonl",
        {"file": "beside.png"},
        {
            "image_id": 790,
            "file": "below.png",
            "captions": ["A cat.", "One cat\u2028here"],
            "license": "CC BY",
            "license_url": "http://example.org/by",
            "source": "COCO",
            "flickr_url": "http://example.org/photo",
        },
        "",
        {"file": "gone.png", "id": "x"},
    )
    first, second, third = ImageCaptionData(path).items
    assert first == ImageItem("beside", tmp_path / "beside.png")
    assert second == ImageItem(
        id="790",
        path=tmp_path / "images" / "below.png",
        references=("A cat.", "One cat\u2028here"),
        license="CC BY, http://example.org/by",
        source="COCO, http://example.org/photo",
    )
    assert third.id == "x"
    with pytest.raises(UsageError, match=r"gone\.png does not exist"):
        load_image(third.path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"list\.jsonl:2: not JSON"),
        ("[]", r'list\.jsonl:2: no "file"; write an object like'),
        ('{"id": 1}', r'list\.jsonl:2: no "file"'),
        ('{"file": ""}', r'list\.jsonl:2: no "file"'),
        ('{"file": "b.png", "captions": "A cat."}', r'list\.jsonl:2: "captions"=\'A cat\.\' is not allowed'),
        ('{"file": "b.png", "captions": [1]}', r'list\.jsonl:2: "captions"=\[1\] is not allowed'),
        ('{"file": "a.png"}', r"list\.jsonl: the id 'a\.png' stands for several items"),
    ],
)
def test_bad_jsonl_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ImageCaptionData(jsonl(tmp_path / "list.jsonl", {"file": "a.png"}, line))


def test_paths_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b"\xff")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder").mkdir()
    for name, message in [
        ("missing", r"missing' does not exist: give a photo, a folder of photos or a \.jsonl file"),
        ("missing.jsonl", r"missing\.jsonl' cannot be read \(No such file"),
        ("bad.jsonl", r"bad\.jsonl' cannot be read \(not UTF-8 text\)"),
        ("empty.jsonl", r"empty\.jsonl' holds no item"),
        ("notes.txt", r"notes\.txt' is no photo: allowed are \.png"),
        ("folder", r"folder' holds no photo: put \.png"),
    ]:
        with pytest.raises(UsageError, match=message):
            ImageCaptionData(tmp_path / name)
    with pytest.raises(UsageError, match="limit=0 is not allowed"):
        ImageCaptionData(tmp_path, limit=0)


def test_ids_that_clash(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "list.jsonl", {"file": "a.png"}, {"file": "b.png", "id": "a"}, {"file": "c/a.png"}
    )
    assert [item.id for item in ImageCaptionData(path).items] == ["a.png", "a", "c/a.png"]
    path = jsonl(tmp_path / "list.jsonl", {"file": "a.png", "id": 1}, {"file": "b.png", "id": "1"})
    with pytest.raises(
        UsageError, match=r"list\.jsonl: the id '1' stands for several items; give each its own"
    ):
        ImageCaptionData(path)


class Collector(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[ImageItem] = []

    def predict_step(self, item: ImageItem) -> None:
        self.seen.append(item)


def test_the_predict_loop_gets_one_item_at_a_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        photo(tmp_path / name)
    config = OmegaConf.merge(OmegaConf.load(CONF / "photos.yaml"), {"path": str(tmp_path)})
    data = instantiate(config)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", default_root_dir=tmp_path, enable_checkpointing=False, **quiet)
    collector = Collector()
    trainer.predict(collector, datamodule=data, return_predictions=False)
    assert collector.seen == list(data.items)
