"""Reports of directories that somebody has edited by hand: what can be read is shown, what cannot is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_samples import done, failed

from fuse_repro.report import main
from fuse_repro.report.paper import collect
from fuse_repro.runs.directory import RunDirectory, read_records
from fuse_repro.runs.look import look_at

Make = Callable[..., RunDirectory]


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("line", ["{", "[]", "null", '{"id": []}', "\x00", '{"id": "cut off"', "[" * 100_000])
def test_a_damaged_line_leaves_the_others(
    make_run: Make, photo: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(done(photo, id="first"), done(photo, id="last"))
    run.finish({"runner": "captions"})
    path = run.path / "records.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, lines[1]]) + "\n")
    assert [record["id"] for record in look_at(run.path).records] == ["first", "last"]
    assert main([str(run.path)]) == 0
    assert f"fuse-repro report: {path} is damaged at line 2\n" in capsys.readouterr().err
    page = (run.path / "report.html").read_text()
    assert "records.jsonl is damaged at line 2" in page
    assert page.count("<article") == 2
    with pytest.raises(
        ValueError, match=r"records\.jsonl is damaged at line 2; delete that line and run again"
    ):
        read_records(run.path)


def test_a_damaged_last_line_is_not_lost_silently(make_run: Make, photo: Path) -> None:
    run = make_run(done(photo))
    with (run.path / "records.jsonl").open("a") as file:
        file.write('{"id": "edited", }\n')
    size = (run.path / "records.jsonl").stat().st_size
    with pytest.raises(ValueError, match="is damaged at line 2"):
        run.records()
    assert (run.path / "records.jsonl").stat().st_size == size


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("manifest.json", {"config": [1]}),
        ("manifest.json", {"config": "text", "machine": 3, "versions": [], "weights": 5}),
        ("manifest.json", {"created": 17, "seed": [], "device": {}}),
        ("manifest.json", {"weights": {"lm": 3}, "created": "yesterday"}),
        ("manifest.json", {"config": {"paper_cell": []}}),
        ("status.json", {"state": 3}),
        ("status.json", {"error": [1], "traceback": {}, "updated": 4}),
        ("results.json", {"metrics": "good"}),
        ("results.json", {"runner": "transfer", "methods": 4}),
        ("results.json", {"runner": ["x"], "items": None}),
    ],
)
def test_values_of_another_type_do_not_end_a_report(
    make_run: Make, photo: Path, name: str, changes: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(done(photo))
    run.finish({"runner": "captions", "metrics": None})
    edit(run.path / name, **changes)
    assert main([str(run.path)]) == 0
    assert "<article" in (run.path / "report.html").read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "low"},
        {"terms": 3},
        {"steps": "none"},
        {"references": 5},
        {"text": None},
        {"image": []},
        {"status": []},
    ],
)
def test_a_record_of_odd_values_leaves_the_others(make_run: Make, photo: Path, changes: dict) -> None:
    run = make_run(done(photo, id="whole"), done(photo, id="odd") | changes, failed())
    run.finish({"runner": "captions", "metrics": None})
    assert main([str(run.path)]) == 0
    page = (run.path / "report.html").read_text()
    assert "whole" in page
    assert page.count("<article") == 3 or "the record of &#39;odd&#39; cannot be shown" in page


def test_files_that_are_missing_or_damaged_leave_the_rest(make_run: Make, photo: Path) -> None:
    run = make_run(done(photo))
    (run.path / "manifest.json").write_text("{")
    (run.path / "status.json").write_text("")
    assert main([str(run.path)]) == 0
    page = (run.path / "report.html").read_text()
    assert "manifest.json is damaged" in page
    assert "status.json is damaged" in page
    assert "<article" in page


def test_the_comparison_names_the_runs_it_leaves_out(
    make_run: Make, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(done(photo), paper_cell="fuse/coco")
    run.finish({"runner": "captions", "metrics": {"CIDEr": 0.2}})
    other = RunDirectory(tmp_path / "other", {"paper_cell": "fuse/unheard"})
    other.open(device="cpu", weights={})
    broken = RunDirectory(tmp_path / "broken", {"paper_cell": "fuse/coco"})
    broken.open(device="cpu", weights={})
    broken.finish({})
    (broken.path / "status.json").write_text("{")
    said: list[str] = []
    assert len(collect([tmp_path], said.append)["fuse/coco"]) == 1
    assert len(said) == 2
    assert "status.json is damaged" in said[0]
    assert "paper_cell='fuse/unheard' is in no paper" in said[1]
    assert main(["--paper", str(tmp_path)]) == 0
    assert capsys.readouterr().err.count("left out") == 2
