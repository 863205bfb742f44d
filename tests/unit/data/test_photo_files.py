"""Photographs as people have them: folders in folders, every kind of file, and more pixels than Pillow holds safe."""

import importlib.util
import json
import os
from pathlib import Path

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image

from fuse_repro.data import photo as photo_files
from fuse_repro.data import photo_folder
from fuse_repro.data.downloaded import image_number
from fuse_repro.data.flickr30k import Flickr30kData
from fuse_repro.data.images import ImageCaptionData, load_image
from fuse_repro.data.photo import SUFFIXES
from fuse_repro.data.photo_folder import counted, look_into
from fuse_repro.errors import UsageError

HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def photo(path: Path, size: tuple[int, int] = (6, 4), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path, **options)
    return path


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (photo_files, photo_folder):
        monkeypatch.setattr(module, "can_read_heif", lambda: False)


def test_folders_below_are_read_if_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b.png", "sub/a.jpg", "sub/deep/b.jpg", ".hidden/c.png", "sub/._a.jpg"):
        photo(tmp_path / "all" / name, format="PNG")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "all" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "all" / "sub" / "round").symlink_to(tmp_path / "all")
    (tmp_path / "all" / "gone.png").symlink_to(tmp_path / "nothing.png")
    data = ImageCaptionData(tmp_path / "all", recursive=True)
    assert [item.id for item in data.items] == ["b.png", "a", "sub/deep/b.jpg"]
    assert [item.path.relative_to(tmp_path / "all").as_posix() for item in data.items] == [
        "b.png",
        "sub/a.jpg",
        "sub/deep/b.jpg",
    ]
    assert data.not_read == {".png that is no file": 1, "linked folder": 2}
    assert "1 .png that is no file, 2 linked folders; allowed are .png" in capsys.readouterr().err
    flat = ImageCaptionData(tmp_path / "all")
    assert [item.id for item in flat.items] == ["b"]
    assert flat.not_read == {".png that is no file": 1, "folder": 2}


def test_a_folder_that_may_not_be_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "lost" / "b.png")
    there = Path.iterdir

    def iterdir(path: Path):
        if path.name == "lost":
            raise PermissionError(13, "Permission denied")
        return there(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    found = look_into(tmp_path, recursive=True)
    assert ([path.name for path in found.photos], found.not_read) == (["a.png"], {"unreadable folder": 1})
    with pytest.raises(UsageError, match=r"cannot be read \(Permission denied\): give a folder that you may"):
        look_into(tmp_path / "lost")


def test_recursion_is_for_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^dataset\.recursive=True is not allowed: true for a folder only"):
        ImageCaptionData(photo(tmp_path / "a.png"), recursive=True)


NAMES = some.sampled_from(
    ["a.png", "A.PNG", "b.avif", "._a.png", ".b.jpg", "c.svg", "d.mov", "notes.txt", "sub/a.png", "e.JFIF"]
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=some.sets(NAMES, min_size=1), recursive=some.booleans())
def test_every_file_is_a_photograph_or_hidden_or_counted_or_of_another_kind(
    names: set[str], recursive: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("photos")
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    found = look_into(folder, recursive)
    photos = {path.relative_to(folder).as_posix() for path in found.photos}
    seen = {name for name in names if not name.startswith(".") and name != "notes.txt"}
    below = {name for name in seen if "/" in name}
    left = {name for name in seen if name.endswith((".svg", ".mov"))}
    assert photos == seen - left - (set() if recursive else below)
    assert sum(found.not_read.values()) == len(left) + (0 if recursive else len(below))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_photograph_is_read(suffix: str, tmp_path: Path) -> None:
    path = photo(tmp_path / f"a{suffix}", (64, 48), **({"format": "JPEG"} if suffix == ".jfif" else {}))
    (item,) = ImageCaptionData(tmp_path).items
    assert item.path == path
    red, green, blue = load_image(path).getpixel((20, 20))  # type: ignore[misc]
    assert (red > 240, green < 15, blue < 15) == (True, True, True)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [("<u2", 32768, 128), ("<i4", 32768, 127), ("<i4", 128, 128), ("<f4", 0.5, 127), ("<f4", 128.0, 128)],
)
def test_grey_values_of_many_bits(kind: str, value: float, expected: int, tmp_path: Path) -> None:
    Image.fromarray(numpy.full((2, 2), value, dtype=kind)).save(tmp_path / "a.tiff")
    assert load_image(tmp_path / "a.tiff").getpixel((0, 0)) == (expected,) * 3


def test_a_tiff_with_the_high_byte_first(tmp_path: Path) -> None:
    """It was refused: "point operation not supported for this mode"."""
    image = Image.new("I;16B", (2, 2))
    image.frombytes(numpy.full((2, 2), 32768, dtype=">u2").tobytes())
    image.save(tmp_path / "a.tiff")
    assert load_image(tmp_path / "a.tiff").getpixel((0, 0)) == (128, 128, 128)


def test_a_large_jpeg_is_read_at_a_fraction_of_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[0x0112] = 6
    photo(path, (80, 60), exif=exif)
    for limit, size in {
        4800: (60, 80),
        4799: (30, 40),
        1200: (30, 40),
        1199: (15, 20),
        600: (15, 20),
    }.items():
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert load_image(path).size == size
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    with pytest.raises(UsageError, match="is too large for a photo"):
        load_image(path)
    other = photo(tmp_path / "b.png", (80, 60))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4799)
    with pytest.raises(UsageError, match="is too large for a photo"):
        load_image(other)


def test_a_heic_says_what_it_needs(
    tmp_path: Path, without_heif: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.HEIC").write_bytes(HEIC_HEAD)
    (tmp_path / "named.jpg").write_bytes(HEIC_HEAD)
    needs = r"pillow-heif: pip install 'fuse_repro\[heif\]'"
    for name in ("b.HEIC", "named.jpg"):
        with pytest.raises(UsageError, match=rf"{name} cannot be read: HEIC photographs need {needs}$"):
            load_image(tmp_path / name)
    with pytest.raises(
        UsageError, match=rf"^dataset\.path=.* cannot be read \(HEIC photographs need {needs}\)"
    ):
        ImageCaptionData(tmp_path / "b.HEIC")
    assert ImageCaptionData(tmp_path).not_read == {".heic": 1}
    assert "1 .heic; allowed are" in (said := capsys.readouterr().err)
    assert said.endswith("pip install 'fuse_repro[heif]'\n")
    (tmp_path / "named.jpg").unlink()
    with pytest.raises(UsageError, match=rf"holds no photo: put .*; not read in .*: 1 \.heic; .*{needs}$"):
        ImageCaptionData(tmp_path)


def test_a_heic_is_read_with_pillow_heif(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    for name in ("a.HEIC", "b.heif", "c.jpg"):
        photo(tmp_path / name, (64, 48), format="HEIF")
    data = ImageCaptionData(tmp_path)
    assert len(data.items) == 3
    assert data.not_read == {}
    assert {load_image(item.path).size for item in data.items} == {(64, 48)}
    (tmp_path / "torn.heic").write_bytes(HEIC_HEAD)
    with pytest.raises(UsageError, match=r"torn\.heic .*: give a readable .*heic"):
        load_image(tmp_path / "torn.heic")


def test_pillow_heif_is_looked_for() -> None:
    assert photo_files.can_read_heif() == (importlib.util.find_spec("pillow_heif") is not None)


def test_what_is_counted_in_words() -> None:
    assert counted({}) == ""
    assert counted({".heic": 2, "folder": 1}) == "2 .heic, 1 folder"
    assert counted({"linked folder": 3}) == "3 linked folders"


@given(number=some.integers(0, 10**15), zeros=some.integers(0, 3))
def test_a_number_of_coco_is_one_however_it_is_written(number: int, zeros: int) -> None:
    written = [number, float(number), str(number), "0" * zeros + str(number)]
    assert {image_number(value) for value in written} == {number}


@pytest.mark.parametrize(
    "value", [True, 1.5, float("inf"), float("nan"), 2.0**60, "", "1.0", "-1", "\u0669", None]
)
def test_what_is_no_number_of_coco(value: object) -> None:
    with pytest.raises(TypeError):
        image_number(value)


def flickr(folder: Path, **change: object) -> Path:
    """Flickr30k in Karpathy's splits, which has no `filepath` and no `cocoid`."""
    rows = []
    for number, split in enumerate(("train", "test", "test")):
        name = f"{1000092795 + number}.jpg"
        photo(folder / "flickr30k-images" / name)
        sentences = [{"raw": f" A dog {number}. ", "tokens": ["a"], "imgid": number, "sentid": number}]
        rows.append(
            {"sentids": [number], "imgid": number, "sentences": sentences, "split": split, "filename": name}
            | change
        )
    (folder / "dataset_flickr30k.json").write_text(json.dumps({"images": rows, "dataset": "flickr30k"}))
    return folder


def test_flickr30k_in_karpathys_splits(tmp_path: Path) -> None:
    first, second = Flickr30kData(flickr(tmp_path)).items
    assert (first.id, first.references, second.id) == ("1000092796", ("A dog 1.",), "1000092797")
    assert first.path == tmp_path / "flickr30k-images" / "1000092796.jpg"
    assert load_image(second.path).size == (6, 4)
    assert [item.id for item in Flickr30kData(tmp_path, limit=1).items] == ["1000092796"]
    os.rename(tmp_path / "flickr30k-images", tmp_path / "images")  # noqa: PTH104
    assert Flickr30kData(tmp_path, "train").items[0].path == tmp_path / "images" / "1000092795.jpg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filename": 3}, "an image of dataset_flickr30k.json has no"),
        ({"filename": "../../a.jpg"}, "leads out of"),
        ({"sentences": [{}]}, "has no 'raw'"),
        ({"split": "none"}, "dataset.split='test' is not allowed"),
    ],
)
def test_a_flickr30k_that_is_not_in_the_format(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Flickr30kData(flickr(tmp_path, **change))
    assert "\n" not in str(caught.value)


def test_a_folder_without_flickr30k(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"holds no dataset_flickr30k\.json or dataset_flickr8k\.json; it is had"
    ):
        Flickr30kData(tmp_path)
    with pytest.raises(UsageError, match=r"dataset\.split='dev' is not allowed: one of train, val, test"):
        Flickr30kData(tmp_path, "dev")
