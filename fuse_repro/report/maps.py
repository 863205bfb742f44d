"""The page of the table maps x tasks: one row per map, one column per task."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.metrics.statistics import paired_difference
from fuse_repro.report.markup import MISSING, Html, element, mean_cell, number, table

Record = Mapping[str, Any]
NOTE = (
    "Captions: mean objective, lower is better, and CIDEr, with the same candidates per prompt for every map; what a "
    "map loses against the best one is paired over photographs. Transfer: precision@1 of soft prompts on the target "
    "model, in percent. 95% bootstrap intervals. A map's name leads to its captions."
)


def is_maps(records: Sequence[Record]) -> bool:
    """Whether these are records of a table maps x tasks."""
    return bool(records) and records[0].get("kind") == "map"


def maps_body(records: Sequence[Record]) -> Html:
    """The table, best captions first, with links to the reports of both tasks."""
    ranked = sorted(records, key=lambda row: (row.get("objective") or {}).get("mean", float("inf")))
    best = ranked[0].get("objectives") or {}
    rows = []
    for record in ranked:
        scores = record.get("metrics") or {}
        rows.append(
            [
                element("a", record["map"], href=f"captions/{record['map']}/report.html"),
                mean_cell(record.get("objective")),
                MISSING if record is ranked[0] else mean_cell(_lost(record.get("objectives") or {}, best)),
                number(scores.get("CIDEr")),
                mean_cell(
                    {key: 100 * value for key, value in record.get("precision", {}).items()} or None, 1
                ),
                record.get("error", ""),
            ]
        )
    head = ["map", "captions: objective", "lost", "captions: CIDEr", "transfer: precision@1", "note"]
    return element(
        "section",
        element("h3", "Maps and tasks"),
        element("p", NOTE, class_="hint"),
        element("div", table(head, rows, class_="contents"), class_="scroll"),
        element("p", element("a", "The transfer of prompts", href="transfer/report.html"), class_="hint"),
        class_="card",
    )


def _lost(own: Mapping[str, float], best: Mapping[str, float]) -> Mapping[str, float] | None:
    """The mean difference over the photographs that both have."""
    shared = sorted(own.keys() & best.keys())
    if not shared:
        return None
    return vars(paired_difference([own[item] for item in shared], [best[item] for item in shared]))
