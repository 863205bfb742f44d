"""Does the gradient help? Captions of the same photographs from three sources of candidates, compared in pairs.

    fuse-repro COMMON output_dir=outputs/ablation/fuse
    fuse-repro COMMON output_dir=outputs/ablation/random adapter=random
    fuse-repro COMMON output_dir=outputs/ablation/lm optimizer.gradient_weight=0
    python benchmarks/caption_ablation.py outputs/ablation

where COMMON is
    experiment=fuse_paper_defaults linearisation@optimizer.linearisation=dummy
    dataset.path=$FUSE_REPRO_DATA/coco/images.jsonl
    optimizer.candidates=64 optimizer.beam=3 optimizer.max_new_tokens=12
    optimizer.stop=sentence_end optimizer.patience=4
"""

import json
import sys
from pathlib import Path

from _common import report

from fuse_repro.metrics.captions import UNIT
from fuse_repro.metrics.statistics import paired_difference
from fuse_repro.runs.directory import read_json, read_records

ARMS = {"fuse": "FUSE gradient + LM", "random": "random gradient + LM", "lm": "LM alone"}


def main(folder: Path) -> None:
    records = {arm: {r["id"]: r for r in read_records(folder / arm) if r["status"] == "done"} for arm in ARMS}
    shared = sorted(set.intersection(*(set(rows) for rows in records.values())))
    objectives = {arm: [rows[item]["objective"] for item in shared] for arm, rows in records.items()}
    figures: dict = {"photographs": len(shared), "metrics_unit": UNIT, "arms": {}, "paired_differences": {}}
    for arm, label in ARMS.items():
        results = read_json(folder / arm / "results.json")
        terms = {
            name: sum(records[arm][item]["terms"][name]["raw"] for item in shared) / len(shared)
            for name in records[arm][shared[0]]["terms"]
        }
        figures["arms"][label] = {
            "objective": sum(objectives[arm]) / len(shared),
            **terms,
            "metrics": results["metrics"],
        }
    for arm in ("random", "lm"):
        difference = paired_difference(objectives["fuse"], objectives[arm], seed=0)
        figures["paired_differences"][f"{ARMS['fuse']} minus {ARMS[arm]}"] = json.loads(
            json.dumps(vars(difference), default=float)
        )
    report("caption_ablation", figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
