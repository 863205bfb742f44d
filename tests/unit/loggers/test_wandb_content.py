"""What is shown in wandb, before it is handed over."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fuse_repro.loggers.wandb_content import item_curves, mean_curves, tables


def searched(name: str, *objectives: float, **more: Any) -> dict[str, Any]:
    """A search whose beam holds, at every step, this objective and a worse one."""
    worse = {"objective": 99.0, "terms": {"image": 9.0}}
    steps = [{"beam": [worse, {"objective": best, "terms": {"image": best / 2}}]} for best in objectives]
    return {"id": name, "status": "done", "image": "gone.png", "caption": "a cat", "steps": steps} | more


def test_the_best_of_every_step_is_drawn() -> None:
    assert list(item_curves(searched("a", 4.0, 2.0))) == [
        {"search/step": 1, "search/a/objective": 4.0, "search/a/image": 2.0},
        {"search/step": 2, "search/a/objective": 2.0, "search/a/image": 1.0},
    ]
    assert list(item_curves({"id": "b", "status": "failed", "error": "x"})) == []
    matched = {"id": "P1/0/relative", "matching": {"loss": 0.1, "curve": [[0, 0.5], [10, 0.1]]}}
    assert list(item_curves(matched)) == [
        {"matching/step": 0, "matching/P1/0/relative/loss": 0.5},
        {"matching/step": 10, "matching/P1/0/relative/loss": 0.1},
    ]


def test_in_the_mean_a_search_that_ended_keeps_its_value() -> None:
    curves = list(
        mean_curves([searched("a", 4.0, 2.0, 1.0), searched("b", 6.0), {"id": "c", "status": "failed"}])
    )
    assert [row["search/mean/objective"] for row in curves] == [5.0, 4.0, 3.5]
    assert list(mean_curves([])) == []


def test_tables_of_captions(tmp_path: Path) -> None:
    Image.new("RGB", (960, 480), "red").save(tmp_path / "red.png")
    records = [
        searched("a", 4.0, image=str(tmp_path / "red.png"), references=["one", "two"], objective=4.0),
        searched("b", 2.0, 1.0, objective=1.0),
        {"id": "c", "image": "c.png", "status": "failed", "error": "torn"},
    ]
    found = tables(records, images=1)
    captions = found["captions"]
    rows = [dict(zip(captions.columns, row, strict=True)) for row in captions.data]
    assert rows[0]["photo"].image.size == (480, 240)
    assert [row["photo"] for row in rows[1:]] == [None, None]
    assert rows[0]["references"] == "one\ntwo"
    assert [row["error"] for row in rows] == [None, None, "torn"]
    assert [row[:3] for row in found["search_steps"].data] == [["a", 1, 4.0], ["b", 1, 2.0], ["b", 2, 1.0]]
    assert tables(records, images=0)["captions"].data[0][1] is None


def test_other_records_are_tables_by_their_kind() -> None:
    records = [
        {
            "id": "P1/0/fuse",
            "method": "fuse",
            "accuracy": 0.5,
            "matching": {"loss": 0.1, "curve": [[0, 1.0]]},
        },
        {"id": "P1", "method": None, "error": "no answer"},
        {"id": "x", "kind": "fidelity", "methods": {"fuse": {"spearman": 0.5}, "random": {"spearman": 0.0}}},
    ]
    found = tables(records, images=0)
    assert set(found) == {"transfer", "fidelity"}
    assert found["transfer"].columns == ["id", "method", "accuracy", "matching.loss", "error"]
    assert found["fidelity"].columns == ["id", "kind", "method", "spearman"]
    assert found["fidelity"].data == [["x", "fidelity", "fuse", 0.5], ["x", "fidelity", "random", 0.0]]
    assert tables([], images=0) == {}


@pytest.mark.parametrize("values", [[1, 0.5, None], ["a", None], [True, False]])
def test_columns_keep_their_type_and_mixed_ones_become_text(values: list[Any]) -> None:
    def column(cells: list[Any]) -> list[Any]:
        table = tables([{"id": str(place), "cell": cell} for place, cell in enumerate(cells)], images=0)[
            "records"
        ]
        return [row[1] for row in table.data]

    assert column(values) == values
    assert column([*values, "text", 2]) == [None if v is None else str(v) for v in [*values, "text", 2]]


def test_names_that_no_json_of_wandb_can_hold_are_shown() -> None:
    """A lone surrogate made the logger stop."""
    odd = "\udcff\x1b\u202e"
    found = tables([searched(odd, 4.0), {"id": odd, odd: odd}], images=0)
    for table in found.values():
        cells = [cell for row in table.data for cell in row if isinstance(cell, str)]
        assert r"\udcff\x1b\u202e" in cells
        assert all(text.isprintable() for text in (*cells, *table.columns))
