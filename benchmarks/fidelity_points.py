"""What fewer linearisation points cost in fidelity, paired over prompts.

fuse-repro experiment=fidelity_points dataset.path=$FUSE_REPRO_DATA/coco/images.jsonl \
        '~models.other' objective.other_fluency.weight=0 runner.candidates=1024 output_dir=outputs/points
python benchmarks/fidelity_points.py outputs/points
"""

import sys
from pathlib import Path

from _common import report
from fidelity_table import difference, shown

from fuse_repro.runners.fidelity.results import methods_table
from fuse_repro.runs.directory import read_records

PAIRS = {
    "default": ("twelve", "six"),
    "fuse_combined": ("fuse_twelve", "fuse_six"),
    "lookup@random": ("lookup@twelve", "lookup@six"),
    "fuse@random": ("fuse@twelve", "fuse@six"),
}
NUMBERS = ("spearman", "recall@64", "recall@128", "recall@512")


def main(folder: Path) -> None:
    records = [record for record in read_records(folder) if record["status"] == "done"]
    whole = methods_table(records)
    report(
        "fidelity_points",
        {
            "records": len(records),
            "methods": {name: shown(whole[name]) for name in whole},
            "minus_48_points": {
                fewer: {number: difference(records, fewer, many, number) for number in NUMBERS}
                for many, both in PAIRS.items()
                for fewer in both
            },
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
