"""How often the embedded sentiment classifier is right on SST-2: P(positive) against P(negative).

    python benchmarks/sentiment_head.py $FUSE_REPRO_DATA/sst2/test-labeled.tsv [models.sentiment.KEY=VALUE ...]

dev.tsv chose the head's settings; test-labeled.tsv is for the figure only.
"""

import csv
import sys
from pathlib import Path

from _common import config, report

from fuse_repro.runners.build import build


def main(path: Path, overrides: list[str]) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    model = config("experiment=caption_sentiment", "dataset.path=.", *overrides).models.sentiment
    head = build(model)
    scores = head.encode([row["sentence"] for row in rows])
    positive = scores[:, head.index("positive")] > scores[:, head.index("negative")]
    right = sum(bool(said) == (row["label"] == "1") for said, row in zip(positive, rows, strict=True))
    figures = {
        "file": path.name,
        "sentences": len(rows),
        "overrides": overrides,
        "accuracy": right / len(rows),
    }
    report("sentiment_head", figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
