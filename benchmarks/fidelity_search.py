"""128 candidates of the default against 512 of the FUSE paper's, paired over photographs.

    fuse-repro experiment=caption COMMON output_dir=outputs/search_full/default
    fuse-repro experiment=fuse_paper_defaults COMMON output_dir=outputs/search_full/paper
    ... and any other arm, such as one with optimizer.candidates=128, then
    python benchmarks/fidelity_search.py outputs/search_full [NAME]

NAME is that of the file in benchmarks/results (fidelity_search).
where COMMON is
    dataset.path=$FUSE_REPRO_DATA/coco/images.jsonl dataset.limit=30 optimizer.beam=3 optimizer.max_new_tokens=10
    optimizer.stop=sentence_end optimizer.patience=4
"""

import sys
from pathlib import Path

from _common import report

from fuse_repro.metrics.captions import UNIT
from fuse_repro.metrics.statistics import paired_difference
from fuse_repro.runs.directory import read_json, read_records


def main(folder: Path, name: str = "fidelity_search") -> None:
    arms = sorted(path.name for path in folder.iterdir() if path.is_dir())
    records = {arm: {r["id"]: r for r in read_records(folder / arm) if r["status"] == "done"} for arm in arms}
    shared = sorted(set.intersection(*(set(rows) for rows in records.values())))
    figures: dict = {
        "photographs": len(shared),
        "metrics_unit": UNIT,
        "arms": {},
        "objective_of_the_default_minus": {},
    }
    for arm in arms:
        manifest, rows = read_json(folder / arm / "manifest.json"), [records[arm][item] for item in shared]
        terms = {name: sum(r["terms"][name]["raw"] for r in rows) / len(rows) for name in rows[0]["terms"]}
        results = folder / arm / "results.json"
        found = read_json(results) if results.exists() else {}
        figures["arms"][arm] = {
            "candidates": manifest["config"]["optimizer"]["candidates"],
            "objective": sum(r["objective"] for r in rows) / len(rows),
            **terms,
            "metrics": found.get("metrics"),
            "seconds_per_item": (found.get("timing") or {}).get("seconds_per_item"),
        }
    own = [records["default"][item]["objective"] for item in shared]
    for arm in arms:
        if arm != "default":
            other = [records[arm][item]["objective"] for item in shared]
            figures["objective_of_the_default_minus"][arm] = vars(paired_difference(own, other))
    report(name, figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
