"""Flickr30k (Young et al. 2014) and Flickr8k, with five captions a photograph, in Karpathy's splits."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fuse_repro.data.downloaded import DataSource
from fuse_repro.data.images import ImageItem, PhotoData
from fuse_repro.data.karpathy import Row, karpathy_items
from fuse_repro.errors import require

SPLITS = ("train", "val", "test")
FILES = ("dataset_flickr30k.json", "dataset_flickr8k.json")
PHOTOS = ("flickr30k-images", "flickr30k_images", "Flicker8k_Dataset", "images")
SOURCE = DataSource(
    "Flickr30k",
    "https://shannon.cs.illinois.edu/DenotationGraph (photographs) and "
    "https://cs.stanford.edu/people/karpathy/deepimagesent (caption_datasets.zip)",
    f"dataset_flickr30k.json (or dataset_flickr8k.json), and the photographs in {PHOTOS[0]}/ or images/",
)


class Flickr30kData(PhotoData):
    """Photographs with their five captions, in the order of the file; the id is the file's name without its suffix.

    Args:
        path: the data set's folder; see `SOURCE` for its layout.
        split: train, val or test.
        limit: only the first so many photographs; None for all.

    Raises:
        UsageError: an unknown split, a limit below 1, or files that are missing or damaged.
    """

    def __init__(self, path: str | Path, split: str = "test", limit: int | None = None) -> None:
        super().__init__()
        require(split in SPLITS, "dataset.split", split, f"one of {', '.join(SPLITS)}")
        require(
            limit is None or limit >= 1, "dataset.limit", limit, "a whole number from 1 on, or null for all"
        )
        items = karpathy_items(SOURCE, SOURCE.file(path, *FILES), split, _name, _places)
        require(bool(items), "dataset.split", split, "a split that the file has photographs of")
        self._items = tuple(items[:limit])

    @property
    def items(self) -> tuple[ImageItem, ...]:
        """Every item, in the order of the predict loop."""
        return self._items


def _name(row: Row) -> str:
    return PurePosixPath(row["filename"]).stem


def _places(row: Row) -> Sequence[str]:
    return [*(f"{folder}/{row['filename']}" for folder in PHOTOS), str(row["filename"])]
