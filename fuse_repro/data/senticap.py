"""SentiCap (Mathews et al. 2016): COCO photographs with captions of positive and of negative sentiment."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fuse_repro.data.csv_rows import csv_rows
from fuse_repro.data.downloaded import MALFORMED, DataSource, image_path
from fuse_repro.data.images import ImageItem, PhotoData
from fuse_repro.errors import require
from fuse_repro.storage.reading import read_text, text_lines, whole_text

ALL = "all"
SPLITS = ("train", "val", "test", ALL)
SENTIMENTS = {"positive": "1", "negative": "0"}
FILES = ("senticap_dataset.json", "senticap_dataset.csv")
SOURCE = DataSource(
    "SentiCap",
    "http://users.cecs.anu.edu.au/~u4534172/senticap.html (the photographs are COCO's val2014, cocodataset.org)",
    "senticap_dataset.json, or senticap_dataset.csv, which has no splits; and the photographs in val2014/ (or images/)",
)

COLUMNS = ("filename", "is_positive_sentiment", "caption")
Row = tuple[str, str, str, str]  # file name, split ("" if none is known), 1 or 0, caption


class SentiCapData(PhotoData):
    """Photographs with their captions of one sentiment, sorted by file name; the id is its COCO number.

    Args:
        path: the data set's folder; see `SOURCE` for its layout.
        sentiment: positive or negative: whose captions are the references. Photographs without any are left
            out.
        split: train, val, test or all; the .csv, which its authors' reader writes, knows no other than all.
        limit: only the first so many photographs; None for all.

    Raises:
        UsageError: an unknown sentiment or split, a limit below 1, or files that are missing or damaged.
    """

    def __init__(
        self, path: str | Path, sentiment: str = "positive", split: str = "test", limit: int | None = None
    ) -> None:
        super().__init__()
        require(sentiment in SENTIMENTS, "dataset.sentiment", sentiment, f"one of {', '.join(SENTIMENTS)}")
        require(split in SPLITS, "dataset.split", split, f"one of {', '.join(SPLITS)}")
        require(
            limit is None or limit >= 1, "dataset.limit", limit, "a whole number from 1 on, or null for all"
        )
        folder = Path(path).expanduser()
        captions: dict[str, list[str]] = defaultdict(list)
        source = SOURCE.file(folder, *FILES)
        known = source.suffix == ".json" or split == ALL
        require(known, "dataset.split", split, f"all for {source.name}; senticap_dataset.json has the splits")
        for name, of, positive, caption in _rows(source):
            if split in (of, ALL) and positive == SENTIMENTS[sentiment]:
                captions[name].append(caption)
        require(bool(captions), "dataset.split", split, f"a split with {sentiment} captions")
        self._items = tuple(
            ImageItem(
                _number(name),
                image_path(folder, f"val2014/{name}", f"images/{name}", name),
                tuple(captions[name]),
            )
            for name in sorted(captions)[:limit]
        )

    @property
    def items(self) -> tuple[ImageItem, ...]:
        """Every item, in the order of the predict loop."""
        return self._items


def _rows(path: Path) -> Iterator[Row]:
    return _csv_rows(path) if path.suffix == ".csv" else _json_rows(path)


def _json_rows(path: Path) -> Iterator[Row]:
    (images,) = SOURCE.rows(SOURCE.read(path), path, "images")
    try:
        for image in images:
            for sentence in image["sentences"]:
                name, caption = str(image["filename"]), whole_text(sentence["raw"]).strip()
                yield name, image["split"], str(sentence["sentiment"]), caption
    except MALFORMED as err:
        raise SOURCE.wrong(f"an image of {path.name} has no {err}") from err


def _csv_rows(path: Path) -> Iterator[Row]:
    text = read_text(path, lambda why: SOURCE.wrong(f"{path} cannot be read ({why})"))
    rows = csv_rows(path, text_lines(text))
    _, heads = next(rows, (0, []))
    missing = [name for name in COLUMNS if name not in heads]
    if missing:
        raise SOURCE.wrong(f"{path} cannot be read (no column {missing[0]})")
    for number, row in rows:
        if not row:
            continue
        cells = dict(zip(heads, row, strict=False))
        if not all(name in cells for name in COLUMNS):
            raise SOURCE.wrong(f"{path}, line {number}: {len(row)} cells, and {len(heads)} columns")
        name, positive, caption = (cells[column].strip() for column in COLUMNS)
        yield name, "", positive, caption


def _number(name: str) -> str:
    """The COCO number at the end of a file name, or the name's stem."""
    digits = Path(name).stem.rpartition("_")[2]
    return str(int(digits)) if digits.isascii() and digits.isdigit() and len(digits) < 20 else Path(name).stem
