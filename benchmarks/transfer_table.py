"""Every method of prompt transfer in one table per direction, from runs of `experiment=transfer_table`.

    fuse-repro COMMON models.target.accept_terms=true output_dir=outputs/table_forth
    fuse-repro COMMON model@models.source=gemma3_270m models.source.accept_terms=true \\
        model@models.target=smollm2_135m output_dir=outputs/table_back
    python benchmarks/transfer_table.py outputs/table_forth outputs/table_back

where COMMON is
    experiment=transfer_table methods.relative_paper.solver=closed_form
    dataset=facts_and_sst2 dataset.parts.sst2.path=$FUSE_REPRO_DATA/sst2 dataset.parts.sst2.limits={test:300}

Mean precision@1 over relations, each counting once. The interval resamples relations and seeds; the difference to
`relative_paper` is paired over relations and seeds, and resamples relations.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from _common import report

from fuse_repro.metrics.statistics import paired_difference
from fuse_repro.runs.directory import MANIFEST, RESULTS, read_json, read_records

REFERENCE = "relative_paper"


def by_task(records: Sequence[Mapping[str, Any]], method: str) -> dict[str, float]:
    """Task -> accuracy, the mean over seeds."""
    cells: dict[str, list[float]] = {}
    for record in records:
        if record["method"] == method:
            cells.setdefault(record["task"], []).append(record["accuracy"])
    return {task: fmean(values) for task, values in cells.items()}


def direction(folder: Path) -> tuple[str, dict[str, Any]]:
    """The two models' names, and every method's row, best first."""
    models = read_json(folder / MANIFEST)["config"]["models"]
    records = [record for record in read_records(folder) if record["status"] == "done"]
    reference = by_task(records, REFERENCE)
    rows = {}
    for method, found in read_json(folder / RESULTS)["methods"].items():
        own = by_task(records, method)
        tasks = [task for task in own if task in reference]
        less = paired_difference([own[task] for task in tasks], [reference[task] for task in tasks])
        rows[method] = {
            "mean": found["mean_over_relations"],
            "interval": [found["low"], found["high"]],
            "minus_paper": [less.mean, less.low, less.high],
            "tasks": own,
        }
    ordered = dict(sorted(rows.items(), key=lambda row: -row[1]["mean"]))
    return f"{models['source']['name']} -> {models['target']['name']}", ordered


def markdown(title: str, rows: Mapping[str, Any]) -> str:
    """The table as the documentation has it, in percent."""
    tasks = list(next(iter(rows.values()))["tasks"])
    head = ["method", "mean", "95% interval", "minus the paper's", *tasks]
    lines = [f"### {title}", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, row in rows.items():
        low, high = row["interval"]
        less = "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in row["minus_paper"]))
        cells = [f"{100 * row['tasks'][task]:.1f}" for task in tasks]
        interval = "none" if low is None else f"{100 * low:.1f} to {100 * high:.1f}"
        cells = [name, f"{100 * row['mean']:.1f}", interval, less, *cells]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(folders: Sequence[Path]) -> None:
    found = dict(direction(folder) for folder in folders)
    report("transfer_table", found)
    print("\n\n".join(markdown(title, rows) for title, rows in found.items()))


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
