"""metrics.csv holds the records, whatever comes and however often the run is started."""

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuse_repro.loggers import csv_loggers, no_loggers
from fuse_repro.loggers.flat import flat, numbers
from fuse_repro.runs.directory import RunDirectory, read_records
from fuse_repro.shown import visible

FIRST = {"id": "a", "status": "done", "terms": {"image": {"raw": 0.1, "weighted": 1.0}}, "steps": [1, 2]}
FAILED = {"id": "b", "status": "failed", "error": 'a "quoted", text\nof two lines'}


def run_in(path: Path, *records: dict[str, Any]) -> RunDirectory:
    run = RunDirectory(path, {"name": "x", "seed": 0})
    for observer in csv_loggers(path):
        run.observers.add(observer)
    run.open(device="cpu", weights={})
    for record in records:
        run.append(record)
    return run


def table(path: Path) -> list[dict[str, str]]:
    with (path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def in_table(value: Any) -> str:
    """As the table has it: text that a spreadsheet would take for a formula behind a quote, nothing hidden."""
    if not isinstance(value, str):
        return str(value)
    return visible(f"'{value}" if value[0] in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20" else value)


def as_text(path: Path) -> list[dict[str, str]]:
    rows = [flat(record) for record in read_records(path)]
    return [{key: in_table(value) for key, value in row.items() if value not in (None, "")} for row in rows]


def test_records_become_rows_and_new_columns_are_added(tmp_path: Path) -> None:
    run_in(tmp_path, FIRST, FAILED, {"id": "c", "accuracy": 0.5, "seed": None})
    assert table(tmp_path) == as_text(tmp_path)
    head = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert head == "id,status,terms.image.raw,terms.image.weighted,error,accuracy,seed"


def test_an_item_that_is_tried_again_has_one_row(tmp_path: Path) -> None:
    run_in(tmp_path, FAILED, FIRST, FIRST | {"id": "b"})
    assert [(row["id"], row["status"]) for row in table(tmp_path)] == [("b", "done"), ("a", "done")]


def test_a_torn_table_is_mended_when_the_run_goes_on(tmp_path: Path) -> None:
    run = run_in(tmp_path, FIRST, FIRST | {"id": "z"})
    run.interrupt(KeyboardInterrupt())
    whole = (tmp_path / "metrics.csv").read_bytes()
    (tmp_path / "metrics.csv").write_bytes(whole[:-7])
    run_in(tmp_path)
    assert (tmp_path / "metrics.csv").read_bytes() == whole


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("pqrs"), scalars, min_size=1), min_size=1, max_size=5))
@example([{"p": None}, {"p": float("inf")}])
@example([{"p": "\x1b\udcff\u202e"}, {"p": "=1+1", "q": -1, "r": "-1"}])
def test_any_values_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("run")
    run_in(path, *[{"id": str(place)} | row for place, row in enumerate(rows)])
    assert table(path) == as_text(path)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\uff1d1"])
def test_no_text_is_executed_by_a_spreadsheet(text: str, tmp_path: Path) -> None:
    run_in(tmp_path, {"id": text, "value": -1.5, "reason": "a=b", text: text})
    with (tmp_path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        head, row = csv.reader(file)
    quoted = visible(f"'{text}")
    assert head == ["id", "value", "reason", quoted]
    assert row == [quoted, "-1.5", "a=b", quoted]


def test_names_that_no_file_can_hold_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such an id made the logger stop; in records.jsonl it is what it was."""
    odd = "\udcff[/x]\x1b\u202e"
    run_in(tmp_path, {"id": odd, "x": 1}, {"id": "b", "x": 2}, {"id": f"{odd}2", "x": 3})
    assert [row["id"] for row in table(tmp_path)] == [r"\udcff[/x]\x1b\u202e", "b", r"\udcff[/x]\x1b\u202e2"]
    assert [row["id"] for row in read_records(tmp_path)] == [odd, "b", f"{odd}2"]
    assert capsys.readouterr().err == ""


def test_without_loggers_there_is_no_table(tmp_path: Path) -> None:
    assert no_loggers(tmp_path) == []


def test_numbers_are_what_a_chart_can_show() -> None:
    record = {"a": 1, "b": {"c": 0.5, "d": True, "e": None}, "f": "text", "g": [1]}
    assert numbers(record) == {"a": 1, "b.c": 0.5}
