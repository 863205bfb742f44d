"""The page of the table maps x tasks: one row per map, one column per task."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fuse_repro.metrics.statistics import paired_difference
from fuse_repro.report.formats import MISSING, estimate, number
from fuse_repro.report.measures import metrics_in_percent
from fuse_repro.report.pages.parts import Record

HEAD = ["map", "captions: objective", "lost", "captions: CIDEr", "transfer: precision@1", "note"]


def is_maps(records: Sequence[Record], _results: Mapping[str, Any]) -> bool:
    """Whether these are records of a table maps x tasks."""
    return bool(records) and records[0].get("kind") == "map"


def maps_content(records: Sequence[Record], _results: Mapping[str, Any]) -> dict[str, Any]:
    """The table, best captions first."""
    ranked = sorted(records, key=lambda row: (row.get("objective") or {}).get("mean", float("inf")))
    best = ranked[0].get("objectives") or {}
    rows = []
    for record in ranked:
        lost = None if record is ranked[0] else _lost(record.get("objectives") or {}, best)
        cells = [
            estimate(record.get("objective")),
            MISSING if lost is None else estimate(lost),
            number(metrics_in_percent(record).get("CIDEr"), 1),
            estimate(record.get("precision"), 1, 100),
            record.get("error", ""),
        ]
        rows.append({"map": record["map"], "cells": cells})
    return {"head": HEAD, "rows": rows}


def _lost(own: Mapping[str, float], best: Mapping[str, float]) -> Mapping[str, Any] | None:
    """The mean difference over the photographs that both have; from a single one there is no interval."""
    shared = sorted(own.keys() & best.keys())
    if not shared:
        return None
    pairs = [own[item] for item in shared], [best[item] for item in shared]
    if len(shared) == 1:
        return {"mean": fmean(pairs[0]) - fmean(pairs[1]), "low": None, "high": None}
    return vars(paired_difference(*pairs))
