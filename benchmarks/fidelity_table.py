"""Is the default twice as faithful as the paper's setting, and where does a gradient help? From fidelity runs.

    fuse-repro COMMON output_dir=outputs/fidelity/images objective.other_fluency.weight=0
    fuse-repro COMMON output_dir=outputs/fidelity/...      # other models: docs/fidelity.md
    python benchmarks/fidelity_table.py outputs/fidelity/*

where COMMON is
    experiment=fidelity_compat dataset.path=$FUSE_REPRO_DATA/coco/images.jsonl
    runner.texts=$FUSE_REPRO_DATA/text/wikitext2_test.txt runner.prompts=6 runner.candidates=1200
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import report

from fuse_repro.metrics.fidelity import flat, grouped_mean
from fuse_repro.runners.fidelity.results import group_of, methods_table
from fuse_repro.runs.directory import read_records

PAPER, DEFAULT = "fuse@paper", "default"
NUMBERS = ("spearman", "recall@128", "recall@512", "regret@128", "regret@512")
QUESTION = (
    "lm_only",
    "table",
    "context",
    "gradient_only",
    DEFAULT,
)  # does the gradient help beyond the others?
COMPAT = ("fuse", "permute", "first_token_gradient", "source_count_lookup", "lowercase_words", "released")


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Mean and interval of the main numbers."""
    return {
        key: [round(row[key][part], 4) for part in ("mean", "low", "high")] for key in NUMBERS if key in row
    }


def only(names: Sequence[str], records: list[dict]) -> list[dict]:
    """The records with these methods only."""
    return [r | {"methods": {n: m for n, m in r["methods"].items() if n in names}} for r in records]


def difference(records: list[dict], first: str, second: str, number: str) -> dict[str, Any]:
    """First minus second, paired over prompts, with a bootstrap interval over sentences."""
    both = [r for r in records if first in r["methods"] and second in r["methods"]]
    if not both:
        return {}
    values = [flat(r["methods"][first])[number] - flat(r["methods"][second])[number] for r in both]
    clusters = [f"{r['corpus']}/{r['source']}" for r in both]
    found = grouped_mean(values, [group_of(r) for r in both], clusters)
    return {"mean": found.mean, "low": found.low, "high": found.high, "prompts": found.count}


def main(folders: list[Path]) -> None:
    every = [r for folder in folders for r in read_records(folder) if r["status"] == "done"]
    # A prompt that several runs measured counts once: as the first of them has it.
    records = list({r["id"]: r for r in reversed(every)}.values())
    whole = methods_table(records)
    lengths = sorted({r["length"] for r in records})
    objectives = sorted({(r["pair"], r["objective"], r["place"]) for r in records})

    def where(**wanted: Any) -> list[dict]:
        return [r for r in records if all(r[key] == value for key, value in wanted.items())]

    figures: dict[str, Any] = {
        "records": len(records),
        "sentences": len({(r["corpus"], r["source"]) for r in records}),
        "default_against_paper": {
            name: shown(whole[name]) for name in (DEFAULT, PAPER, "fuse@dummy") if name in whole
        },
        "ratio": {
            key: whole[DEFAULT][key]["mean"] / max(whole[PAPER][key]["mean"], 1e-9)
            for key in ("spearman", "recall@512")
        },
        "default_minus_table_by_length": {
            length: {
                key: difference(where(length=length), DEFAULT, "table", key)
                for key in ("spearman", "recall@512")
            }
            for length in lengths
        },
        "does_the_gradient_help": {
            f"{pair} {objective} {place} {length}": {
                name: shown(row)
                for name, row in methods_table(
                    only(QUESTION, where(pair=pair, objective=objective, place=place, length=length))
                ).items()
            }
            for pair, objective, place in objectives
            for length in lengths
            if where(pair=pair, objective=objective, place=place, length=length)
        },
        "default_minus_context": {
            f"{pair} {objective} {place}": {
                key: difference(where(pair=pair, objective=objective, place=place), DEFAULT, "context", key)
                for key in ("spearman", "recall@512")
            }
            for pair, objective, place in objectives
        },
        "compat": {
            f"{name}@{points}": shown(whole[f"{name}@{points}"])
            for points in ("paper", "dummy", "random")
            for name in COMPAT
            if f"{name}@{points}" in whole
        },
        "all_methods": {name: shown(row) for name, row in whole.items()},
    }
    report("fidelity_table", figures)


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
