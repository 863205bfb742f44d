"""What training a map buys: fidelity of FUSE and of the trained map from 1,000 to 64,000 words, paired over prompts.

fuse-repro experiment=trained_fidelity dataset.path=$FUSE_REPRO_DATA/coco/images.jsonl runner.prompts=10 \
        'runner.lengths=[4]' runner.candidates=400 'runner.ks=[512]' output_dir=outputs/trained
python benchmarks/trained_table.py outputs/trained
"""

import sys
from pathlib import Path

from _common import report
from fidelity_table import difference, shown

from fuse_repro.runners.fidelity.results import methods_table
from fuse_repro.runs.directory import read_json, read_records

SIZES = ("1k", "4k", "16k", "64k")
PAIRS = {
    **{f"trained_{size}@random": (f"fuse_{size}@random", "ridge@random", "lookup@random") for size in SIZES},
    "trained_mlp_16k@random": ("fuse_16k@random", "trained_16k@random"),
    "trained_linear_16k@random": ("fuse_16k@random", "trained_16k@random"),
    "trained_combined": ("fuse_combined", "default"),
}
NUMBERS = ("spearman", "recall@512")


def main(folder: Path) -> None:
    records = [record for record in read_records(folder) if record["status"] == "done"]
    whole = methods_table(records)
    results = folder / "results.json"
    report(
        "trained_table",
        {
            "records": len(records),
            "methods": {name: shown(whole[name]) for name in whole},
            "minus": {
                method: {
                    other: {number: difference(records, method, other, number) for number in NUMBERS}
                    for other in others
                }
                for method, others in PAIRS.items()
            },
            "timing": read_json(results)["timing"] if results.exists() else None,
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
