"""The papers' numbers, and ours beside them."""

from pathlib import Path

import pytest
from rich.console import Console
from sweep_samples import caption, cell, run_at

from fuse_repro.data.paper_values import CELLS, MODELS
from fuse_repro.errors import UsageError
from fuse_repro.report import main
from fuse_repro.report.measures import measures, metrics_in_percent
from fuse_repro.report.paper import check_cell, collect, compare, print_comparison

CELL = "transfer/bert_base/roberta_large"


def test_the_numbers_are_the_papers() -> None:
    assert CELLS["fuse/coco"].values == {"BLEU-4": 1.59, "METEOR": 14.72, "CIDEr": 15.93, "SPICE": 9.15}
    assert CELLS["fuse/senticap"].values["negative accuracy"] == 85.6
    assert CELLS[CELL].values == {
        "random": 0.0,
        "manual": 23.59,
        "direct_tuning": 41.06,
        "discretise": 11.96,
        "projector": 9.78,
        "relative_paper": 21.07,
    }
    assert CELLS["transfer/bert_large/roberta_large"].values["direct"] == 6.27
    assert CELLS["transfer/roberta_base/gpt2_large"].values == {
        "manual": 10.23,
        "direct_tuning": 34.44,
        "relative_paper": 14.33,
    }
    assert CELLS["transfer/sst2/roberta_base/roberta_large"].values["relative_paper"] == 84.63
    assert "projector" not in CELLS["transfer/bert_base+roberta_base/albert_base"].values


def test_a_prompt_goes_best_to_its_own_model() -> None:
    """A property of the paper's Table 3, which a slip in typing it would break."""
    for source in ("bert_base", "bert_large", "roberta_base", "roberta_large"):
        row = {target: CELLS[f"transfer/{source}/{target}"].values["relative_paper"] for target in MODELS}
        assert max(row, key=row.__getitem__) == source


def test_runs_are_found_and_averaged_over_seeds(tmp_path: Path) -> None:
    for place, accuracy in enumerate((0.2, 0.3)):
        cells = [cell("P1", place, "relative_paper", accuracy), cell("P1", place, "relative", 0.9)]
        run_at(tmp_path / "sweep" / str(place), cells, paper_cell=CELL, seed=place).finish({})
    run_at(tmp_path / "begun", [cell("P1", 0, "manual", 0.5)], paper_cell=CELL)
    run_at(tmp_path / "other", [cell("P1", 0, "manual", 0.5)]).finish({})
    rows = {(row.cell, row.name): row for row in compare(collect([tmp_path, tmp_path / "sweep"]))}
    assert len(rows) == sum(len(cell.values) for cell in CELLS.values())
    found = rows[CELL, "relative_paper"]
    assert found.ours is not None
    assert (found.ours.mean, found.ours.count) == (pytest.approx(25), 2)
    assert found.difference == pytest.approx(25 - 21.07)
    assert [row for row in rows.values() if row.ours] == [found]


def test_captions_with_sentiment_are_compared_by_sentiment() -> None:
    records = [caption("a", 4.0) | {"sentiment": name} for name in ("none", "positive")]
    scores = {"positive": {"metrics": {"METEOR": 0.1, "items": 1}, "judged": {"accuracy": 0.5, "items": 1}}}
    found = {"fuse/senticap": [measures(records, {"sentiments": scores})]}
    ours = {row.name: row.ours.mean for row in compare(found, found) if row.ours}
    assert ours == pytest.approx({"positive METEOR": 10, "positive accuracy": 50})


def test_the_scale_of_caption_metrics_is_percent_whatever_the_run_wrote() -> None:
    """Runs of before results.json named its unit have shares; those of today are in percent already."""
    shares = {"metrics": {"CIDEr": 0.17, "METEOR": 0.15, "items": 2}}
    today = {"metrics": {"CIDEr": 17.0, "METEOR": 15.0, "items": 2}, "metrics_unit": "percent"}
    for results in (shares, today):
        found = measures([caption("a", 4.0)], results)
        means = {one.metric: one.mean for one in found if one.metric.endswith("percent")}
        assert means == pytest.approx({"CIDEr, percent": 17.0, "METEOR, percent": 15.0})
        ours = {row.name: row.ours.mean for row in compare({"fuse/coco": [found]}, ["fuse/coco"]) if row.ours}
        assert ours == pytest.approx({"CIDEr": 17.0, "METEOR": 15.0})
    inverted = {"runner": "invert", "metrics": {"word_F1": 61.2, "exact_match": 0.0}}
    assert metrics_in_percent(inverted) == {"word_F1": 61.2, "exact_match": 0.0}


def test_the_table_marks_what_was_not_run(tmp_path: Path) -> None:
    run_at(tmp_path / "a", [cell("P1", 0, "manual", 0.25)], paper_cell=CELL).finish({})
    console = Console(record=True, width=80, file=(tmp_path / "out").open("w"))
    print_comparison(compare(collect([tmp_path])), console)
    text = console.export_text()
    lines = [[part.strip() for part in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    start = next(place for place, line in enumerate(lines) if line[0] == CELL)
    assert lines[start + 2] == ["manual", "23.59", "25.00", "+1.41"]
    assert lines[start + 3] == ["direct_tuning", "41.06", "not run", "–"]
    assert {row.split("/")[0] for row in CELLS} == {"fuse", "transfer"}
    assert all(name in text for name in CELLS), "no name is cut at 80 columns"


def test_the_command_and_its_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--paper"]) == 0
    assert "fuse/coco" in capsys.readouterr().out
    assert main(["--paper", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is no folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])
    with pytest.raises(UsageError, match=r"paper_cell='fuse/cocoa' is not allowed"):
        check_cell("fuse/cocoa")
    with pytest.raises(UsageError, match="paper_cell"):
        compare({"x": []})


def test_a_run_that_names_a_cell_shows_it_on_its_page(tmp_path: Path) -> None:
    run_at(tmp_path / "a", [cell("P1", 0, "manual", 0.25)], paper_cell=CELL).finish({})
    assert main([str(tmp_path / "a")]) == 0
    assert "Paper and ours" in (tmp_path / "a" / "report.html").read_text()
