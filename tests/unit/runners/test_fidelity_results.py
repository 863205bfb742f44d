"""Means over the records of fidelity runs."""

import pytest

from fuse_repro.runners.fidelity.results import methods_table


def record(length: int, source: str, spearman: float, **recall: float) -> dict:
    place = {"pair": "a->b", "objective": "text", "place": "next", "length": length}
    measured = {"spearman": spearman, "recall": recall, "regret": dict.fromkeys(recall, 0.0), "classes": {}}
    return place | {"corpus": "captions", "source": source, "methods": {"default": measured}}


def test_every_prompt_length_counts_once() -> None:
    records = [record(0, "1", 0.0), record(0, "2", 0.2), record(4, "1", 0.9)]
    assert methods_table(records)["default"]["spearman"]["mean"] == pytest.approx((0.1 + 0.9) / 2)


def test_runs_with_other_k_are_joined_by_what_they_share() -> None:
    records = [record(0, "1", 0.5, **{"64": 0.1, "512": 0.4}), record(0, "2", 0.7, **{"512": 0.8})]
    row = methods_table(records)["default"]
    assert set(row) == {"spearman", "recall@512", "regret@512"}
    assert row["recall@512"]["mean"] == pytest.approx(0.6)
