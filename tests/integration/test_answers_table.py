"""The table of prompts of one model and of several, from the command line on tiny models."""

import json
from pathlib import Path
from typing import Any

import pytest

from fuse_repro.cli import main

TERMS = {
    "only_a": {"answer"},
    "only_b": {"answer"},
    "both_lookup": {"answer_lm", "answer_b"},
    "mixed_ab": {"answer_b"},  # the first model proposes, and the second judges alone
}
UNUSED = ("both_fuse", "both_random_map", "mixed_ba")


@pytest.fixture
def overrides(transfer_overrides: list[str]) -> list[str]:
    """SST-2 as the tiny transfer has it; prompts of three tokens, few candidates, no soft prompts unless asked for."""
    named = [
        one.replace("models.source", "models.a").replace("models.target", "models.b")
        for one in transfer_overrides
    ]
    own = [one.replace("optimizer.", "optimizer.transfer.") for one in named]
    return [
        "experiment=answers_table",
        *own,
        "optimizer.search.tokens=3",
        "optimizer.search.max_evaluations=8",
        "runner.search.examples=4",
        "runner.search.dev_items=4",
        *(f"~runner.rows.{name}" for name in UNUSED),
        "~methods.fuse",
        "~methods.random_map",
    ]


def read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    return records, json.loads((folder / "results.json").read_text())


def test_every_row_is_asked_on_every_model(overrides: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = [
        *overrides,
        "~runner.soft.soft_discretised",
        "methods.relative.holdout=10",
        f"output_dir={folder}",
    ]
    assert main(arguments) == 0
    records, results = read(folder)
    assert {record["status"] for record in records} == {"done"}
    rows = {record["row"] for record in records}
    assert rows == {"only_a", "only_b", "both_lookup", "mixed_ab", "manual", "none", "soft_moved"}
    for record in records:
        assert set(record["accuracy"]) == {"a", "b"}
        assert all(0 <= share <= 1 for share in record["accuracy"].values())
    by_id = {record["id"]: record for record in records}
    assert len(by_id) == len(records) == 5 * 2 + 2  # one task; two seeds of what is searched or tuned
    for name, roles in {
        "only_a": ("lm", "unseen_b"),
        "only_b": ("unseen_a", "lm"),
        "both_lookup": ("lm", "b"),
        "mixed_ab": ("lm", "b"),
    }.items():
        (part,), _ = read(folder / name / "1")
        own = {role: part["prompts"]["found"][role]["accuracy"] for role in roles}
        assert list(own.values()) == [by_id[f"{name}/sst2/1"]["accuracy"][role] for role in ("a", "b")]
        assert by_id[f"{name}/sst2/1"]["cost"]["flops"] == part["cost"]["flops"] > 0
        assert set(part["terms"]) == {"fluency"} | TERMS[name]
    assert set(results["rows"]) == rows
    first, second, third = results["differences"]
    assert first.startswith("both_lookup - only_")
    assert second == first.replace("both_lookup", "mixed_ab")
    assert third == "both_lookup - mixed_ab"
    page = (folder / "report.html").read_text()
    assert all(record["text"] in page for record in records if record.get("text", "").isalnum())
    assert "Differences between rows" in page
    before = (folder / "records.jsonl").read_bytes()
    assert main(arguments) == 0  # done parts are passed over
    assert (folder / "records.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("runner.rows.only_a.searched=[c]", "runner.rows.only_a.searched"),
        ("runner.rows.only_a.searched=[]", "runner.rows.only_a.searched"),
        ("runner.rows.only_a.method=nothing", "runner.rows.only_a.method"),
        ("runner.rows.mixed_ab.judges=[c]", "runner.rows.mixed_ab.judges"),
        ("+runner.rows.manual={searched: [a], method: lookup}", "another name"),
        ("runner.rows={new: {searched: [a]}}", "+runner.rows.new=... adds one"),
        ("runner.seeds=[]", "runner.seeds"),
        ("runner.soft.soft_moved=nothing", "runner.soft.soft_moved"),
    ],
)
def test_a_mistake_is_one_line(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, line: str
) -> None:
    assert main([*overrides, change, f"output_dir={tmp_path / 'run'}"]) in (1, 2)
    said = [text for text in capsys.readouterr().err.splitlines() if line in text]
    assert len(said) == 1, said
