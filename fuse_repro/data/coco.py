"""MS-COCO captions (Chen et al. 2015): Karpathy's split, which FUSE's Table 1 uses, or the original annotations."""

from collections.abc import Sequence
from pathlib import Path

from fuse_repro.data.downloaded import (
    MALFORMED,
    DataSource,
    captions_by_image,
    image_number,
    image_path,
    text_or_none,
)
from fuse_repro.data.images import ImageItem, PhotoData
from fuse_repro.data.karpathy import Row, karpathy_items
from fuse_repro.errors import UsageError, require

KARPATHY_SPLITS = ("train", "restval", "val", "test")
ORIGINAL_SPLITS = ("train2014", "val2014", "train2017", "val2017")
SOURCE = DataSource(
    "MS-COCO",
    "https://cocodataset.org (images, annotations) and https://cs.stanford.edu/people/karpathy/deepimagesent "
    "(caption_datasets.zip, for Karpathy's split)",
    "dataset_coco.json or annotations/captions_SPLIT.json, and the photographs in train2014/ and val2014/ "
    "(or train2017/ and val2017/; or images/, or beside the file)",
)


class CocoData(PhotoData):
    """Photographs with their five captions, sorted by COCO's image number, which is the item's id.

    Args:
        path: the data set's folder; see `SOURCE` for its layout.
        split: train, restval, val or test for Karpathy's; train2014, val2014 ... for the original
            annotations.
        limit: only the first so many photographs; None for all.

    Raises:
        UsageError: an unknown split, a limit below 1, or files that are missing or damaged.
    """

    def __init__(self, path: str | Path, split: str = "test", limit: int | None = None) -> None:
        super().__init__()
        known = (*KARPATHY_SPLITS, *ORIGINAL_SPLITS)
        require(split in known, "dataset.split", split, f"one of {', '.join(known)}")
        require(
            limit is None or limit >= 1, "dataset.limit", limit, "a whole number from 1 on, or null for all"
        )
        reader = _karpathy if split in KARPATHY_SPLITS else _original
        items = sorted(reader(Path(path).expanduser(), split), key=lambda item: int(item.id))
        require(bool(items), "dataset.split", split, "a split that the file has photographs of")
        self._items = tuple(items[:limit])

    @property
    def items(self) -> tuple[ImageItem, ...]:
        """Every item, in the order of the predict loop."""
        return self._items


def _karpathy(folder: Path, split: str) -> list[ImageItem]:
    return karpathy_items(SOURCE, SOURCE.file(folder, "dataset_coco.json"), split, _name, _places)


def _name(row: Row) -> str:
    return str(image_number(row["cocoid"]))


def _places(row: Row) -> Sequence[str]:
    return [f"{row['filepath']}/{row['filename']}", f"images/{row['filename']}", str(row["filename"])]


def _original(folder: Path, split: str) -> list[ImageItem]:
    name = f"captions_{split}.json"
    path = SOURCE.file(folder, f"annotations/{name}", name)
    value = SOURCE.read(path)
    images, annotations = SOURCE.rows(value, path, "images", "annotations")
    try:
        licences = {str(row.get("id")): row.get("name") for row in value.get("licenses") or []}
        captions = captions_by_image(annotations)
        return [
            ImageItem(
                str(image_number(row["id"])),
                image_path(
                    folder,
                    f"{split}/{row['file_name']}",
                    f"images/{row['file_name']}",
                    str(row["file_name"]),
                ),
                tuple(captions[image_number(row["id"])]),
                text_or_none(licences.get(str(row.get("license")))),
                text_or_none(row.get("flickr_url")),
            )
            for row in images
        ]
    except UsageError as err:
        raise SOURCE.wrong(str(err)) from err
    except MALFORMED as err:
        raise SOURCE.wrong(f"an entry of {path.name} has no {err}") from err
