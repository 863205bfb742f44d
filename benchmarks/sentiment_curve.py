"""What sentiment costs: share of captions that VADER judges right, and image objective lost, against alpha2.

    fuse-repro COMMON output_dir=outputs/curve/0 runner.sentiments=[none]
    fuse-repro COMMON output_dir=outputs/curve/2 runner.sentiments=[positive,negative] objective.sentiment.weight=2
    ... and so on for other weights, then
    python benchmarks/sentiment_curve.py outputs/curve

where COMMON is
    experiment=caption_sentiment dataset.path=$FUSE_REPRO_DATA/coco/images.jsonl runner.metrics=false
"""

import sys
from pathlib import Path
from typing import Any

from _common import report

from fuse_repro.metrics.sentiment import JUDGE, sentiment_accuracy
from fuse_repro.metrics.statistics import paired_difference
from fuse_repro.runs.directory import read_json, read_records


def main(folder: Path) -> None:
    runs = [path.parent for path in sorted(folder.glob("*/manifest.json"))]
    rows = [
        record | {"alpha2": read_json(run / "manifest.json")["config"]["objective"]["sentiment"]["weight"]}
        for run in runs
        for record in read_records(run)
        if record["status"] == "done"
    ]
    plain = {row["image_id"]: row for row in rows if row["sentiment"] == "none"}
    figures: dict[str, Any] = {"photographs": len(plain), "judge": JUDGE, "curve": {}}
    for alpha2 in sorted({row["alpha2"] for row in rows if row["sentiment"] != "none"}):
        found = [row for row in rows if row["alpha2"] == alpha2 and row["sentiment"] != "none"]
        figures["curve"][str(alpha2)] = point([row for row in found if row["image_id"] in plain], plain)
    for sentiment in ("positive", "negative"):
        captions = [row["caption"] for row in plain.values()]
        judged = sentiment_accuracy(captions, [sentiment] * len(captions))
        figures[f"share of plain captions judged {sentiment}"] = judged["accuracy"]
    figures["examples"] = {
        row["id"] + f" alpha2={row['alpha2']}": row["caption"]
        for row in rows
        if row["image_id"] in list(plain)[:2]
    }
    report("sentiment_curve", figures)


def point(found: list[dict], plain: dict[str, dict]) -> dict[str, Any]:
    """One weight: judged share, and what image match and fluency lose, paired over photographs."""
    judged = sentiment_accuracy([row["caption"] for row in found], [row["sentiment"] for row in found])
    lost = {
        f"{term} lost": vars(
            paired_difference(
                [row["terms"][term]["raw"] for row in found],
                [plain[row["image_id"]]["terms"][term]["raw"] for row in found],
            )
        )
        for term in ("image", "fluency")
    }
    cross_entropy = sum(row["terms"]["sentiment"]["raw"] for row in found) / len(found)
    return {"judged right": judged, "sentiment cross-entropy": cross_entropy, **lost}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
