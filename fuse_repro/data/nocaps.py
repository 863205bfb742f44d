"""NoCaps (Agrawal et al. 2019): captions of Open Images photographs by how near they are to COCO's objects."""

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
from fuse_repro.errors import UsageError, require

DOMAINS = ("in-domain", "near-domain", "out-domain")
FILES = {"val": "nocaps_val_4500_captions.json", "test": "nocaps_test_image_info.json"}
SOURCE = DataSource(
    "NoCaps",
    "https://nocaps.org (annotations; the photographs are Open Images, listed there)",
    "nocaps_val_4500_captions.json or nocaps_test_image_info.json, and the photographs in images/ (or val/, test/)",
)


class NoCapsData(PhotoData):
    """Photographs with ten captions each (val) or none (test, whose captions are not public), sorted by number.

    Args:
        path: the data set's folder; see `SOURCE` for its layout.
        split: val or test.
        domain: in-domain, near-domain or out-domain; None for all three.
        limit: only the first so many photographs; None for all.

    Raises:
        UsageError: an unknown split or domain, a limit below 1, or files that are missing or damaged.
    """

    def __init__(
        self, path: str | Path, split: str = "val", domain: str | None = None, limit: int | None = None
    ) -> None:
        super().__init__()
        require(split in FILES, "dataset.split", split, f"one of {', '.join(FILES)}")
        require(
            domain is None or domain in DOMAINS,
            "dataset.domain",
            domain,
            f"null or one of {', '.join(DOMAINS)}",
        )
        require(
            limit is None or limit >= 1, "dataset.limit", limit, "a whole number from 1 on, or null for all"
        )
        found = [
            (item, place) for item, place in _read(Path(path).expanduser(), split) if domain in (None, place)
        ]
        require(bool(found), "dataset.domain", domain, "a domain that the file has photographs of")
        chosen = sorted(found, key=lambda pair: int(pair[0].id))[:limit]
        self._items = tuple(item for item, _ in chosen)
        self.domains = {item.id: place for item, place in chosen}

    @property
    def items(self) -> tuple[ImageItem, ...]:
        """Every item, in the order of the predict loop."""
        return self._items


def _read(folder: Path, split: str) -> list[tuple[ImageItem, str | None]]:
    path = SOURCE.file(folder, FILES[split])
    value = SOURCE.read(path)
    (images,) = SOURCE.rows(value, path, "images")
    (annotations,) = SOURCE.rows(value, path, "annotations") if split == "val" else ([],)
    try:
        captions = captions_by_image(annotations)
        return [
            (
                ImageItem(
                    str(image_number(row["id"])),
                    image_path(
                        folder,
                        f"images/{row['file_name']}",
                        f"{split}/{row['file_name']}",
                        str(row["file_name"]),
                    ),
                    tuple(captions[image_number(row["id"])]),
                    source=text_or_none(row.get("coco_url")),
                ),
                row.get("domain"),
            )
            for row in images
        ]
    except UsageError as err:
        raise SOURCE.wrong(str(err)) from err
    except MALFORMED as err:
        raise SOURCE.wrong(f"an entry of {path.name} has no {err}") from err
