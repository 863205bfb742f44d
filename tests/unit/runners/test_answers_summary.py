"""The summary of a table of prompts, against numbers counted by hand."""

from typing import Any

import pytest

from fuse_repro.errors import UsageError
from fuse_repro.runners.answers_summary import summary

WITH = {"one": ["a"], "other": ["b"], "both": ["a", "b"]}


def cell(row: str, task: str, seed: int, a: float, b: float, **more: Any) -> dict[str, Any]:
    return {"row": row, "task": task, "seed": seed, "status": "done", "accuracy": {"a": a, "b": b}} | more


def test_means_count_every_task_once_and_differences_are_paired_with_the_best_single_row() -> None:
    records = [
        cell("one", "t", 0, 0.8, 0.2, cost={"flops": 10}),
        cell("one", "t", 1, 0.6, 0.4, cost={"flops": 30}),
        cell("one", "u", 0, 0.2, 0.2),
        cell("other", "t", 0, 0.0, 0.4),
        cell("other", "t", 1, 0.0, 0.4),
        cell("other", "u", 0, 0.0, 0.4),
        cell("both", "t", 0, 0.9, 0.5),
        cell("both", "t", 1, 0.7, 0.3),
        cell("both", "u", 0, 0.4, 0.4),
        {"row": "both", "status": "failed"},
    ]
    found = summary(records, WITH, ["a", "b"])
    assert found["items"] == {"done": 9, "failed": 1}
    one = found["rows"]["one"]
    assert one["accuracy"]["a"]["mean"] == pytest.approx((0.7 + 0.2) / 2)
    assert one["accuracy"]["mean"]["mean"] == pytest.approx((0.5 + 0.2) / 2)
    assert one["flops"] == 20
    assert list(found["differences"]) == ["both - one"]
    difference = found["differences"]["both - one"]
    assert difference["mean"] == pytest.approx(((0.2 + 0.0) / 2 + 0.2) / 2)
    assert difference["low"] <= difference["mean"] <= difference["high"]


def test_a_row_that_some_models_were_not_asked_with_has_no_mean_over_models() -> None:
    found = summary(
        [{"row": "soft", "task": "t", "seed": 0, "status": "done", "accuracy": {"b": 0.5}}], {}, ["a", "b"]
    )
    assert set(found["rows"]["soft"]["accuracy"]) == {"b"}
    assert found["differences"] == {}


def test_a_table_without_any_cell_is_an_error() -> None:
    with pytest.raises(UsageError, match="no cell of the table"):
        summary([{"row": "x", "status": "failed", "error": "why"}], WITH, ["a", "b"])
