"""Which cells of a labelled table are the label and the text: by its first line, where that names its columns."""

from collections.abc import Sequence
from dataclasses import dataclass

# As the usual downloads call them, in lower case.
LABELS = frozenset(
    (
        "label",
        "labels",
        "class",
        "class index",
        "class_index",
        "class id",
        "class_id",
        "category",
        "polarity",
        "sentiment",
        "target",
        "topic",
    )
)
OTHERS = frozenset(("", "unnamed: 0", "id", "idx", "index", "guid", "split", "label_text"))


@dataclass(frozen=True)
class Columns:
    """Where label and text stand in a row.

    Attributes:
        label: place of the label; -1 is the last cell.
        texts: places of the cells that are the text together; None: all but the label.
        count: how many cells every row has; None where nobody knows.
        between: what joins the cells of a text.
    """

    label: int
    texts: tuple[int, ...] | None = None
    count: int | None = None
    between: str = " "

    def text_of(self, row: Sequence[str]) -> str:
        """The text in the row."""
        label = self.label % len(row)
        places = self.texts if self.texts is not None else [n for n in range(len(row)) if n != label]
        return self.between.join(row[place] for place in places)


def two_columns(label: int) -> Columns:
    """Of a .tsv file with the label first (0) or last (-1), and a text that may hold tabs."""
    return Columns(label, between="\t")


def columns_of(row: Sequence[str]) -> Columns | None:
    """What a table's first line says of its columns; None where it is no header.

    A header names exactly one column of labels ("label", "Class Index", ...) and at least one other, and holds no
    number, which every row of data does. Columns with numbers of rows and the like are not part of the text.

    >>> columns_of(["Class Index", "Title", "Description"])
    Columns(label=0, texts=(1, 2), count=3, between=' ')
    """
    names = [cell.strip().casefold() for cell in row]
    labels = [place for place, name in enumerate(names) if name in LABELS]
    texts = tuple(place for place, name in enumerate(names) if name not in LABELS | OTHERS)
    if len(labels) != 1 or not texts or any(name.isdecimal() for name in names):
        return None
    return Columns(labels[0], texts, len(row))
