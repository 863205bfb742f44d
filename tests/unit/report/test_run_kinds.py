"""The pages of runs that are no captions: what they show, also where a summary has no interval."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from report_samples import HARMFUL, done
from sweep_samples import cell
from test_report_page import Checker, check

from fuse_repro.report import build_report
from fuse_repro.report.page import KINDS
from fuse_repro.report.rendering import environment
from fuse_repro.runs.directory import RunDirectory

Make = Callable[..., RunDirectory]
Limits = dict[str, float | None]
BOTH: Limits = {"low": 0.125, "high": 0.75}
NONE: Limits = {"low": None, "high": None}


def page(make_run: Make, records: list[dict[str, Any]], results: Mapping[str, Any]) -> Checker:
    run = make_run(*records)
    run.finish(dict(results))
    return check(build_report(run.path))


@pytest.mark.parametrize(("found", "interval"), [(BOTH, "12.5 to 75.0"), (NONE, "–")])
def test_transfer(make_run: Make, found: Limits, interval: str) -> None:
    methods = {"fuse": {"mean_over_relations": 0.5, "tasks": {"P30": 0.5}} | found}
    failure = {"id": HARMFUL, "status": "failed", "method": "fuse", "task": "P36", "error": "no [/x] here"}
    records = [cell("P30", 0, "fuse", 0.5, dropped={"of no single token": 3}), failure]
    shown = page(make_run, records, {"runner": "transfer", "methods": methods})
    assert f"fuse50.0{interval}50.0" in shown.text
    assert "P30/0/fuse50.01.000423 of no single token" in shown.text
    assert f"{HARMFUL}no [/x] here" in shown.text
    assert "1cells1failed" in shown.text


@pytest.mark.parametrize(("found", "interval"), [(BOTH, "0.12 to 0.75"), (NONE, "")])
def test_fidelity(make_run: Make, found: Limits, interval: str) -> None:
    row: dict[str, Any] = {name: {"mean": 0.5, "count": 3} | found for name in ("spearman", "recall@64")}
    rows = {"default": row, "table": row}
    results = {"runner": "fidelity", "methods": rows, "by_length": {"0": rows, "2": rows}}
    results |= {"by_objective": {"a <pair>": rows}, "by_class": {"default": {"1 x 1": row["spearman"]}}}
    record = {"id": "p", "status": "done", "kind": "fidelity", "objective": "fluency", "methods": {}}
    shown = page(make_run, [record], results)
    assert f"default0.50{interval}0.50{interval}table" in shown.text
    assert f"Every methodmethod1 x 1default0.50{interval}" in shown.text
    assert "a <pair>" in shown.text


@pytest.mark.parametrize(("found", "interval"), [(BOTH, "0.12 to 0.75"), (NONE, "")])
def test_maps(make_run: Make, found: Limits, interval: str) -> None:
    """With one photograph for both maps, what the other map loses has no interval either."""
    own = {"kind": "map", "status": "done", "metrics_unit": "percent"}
    best = {"id": "fuse", "map": "fuse", "objective": {"mean": 0.5} | found, "objectives": {"a": 0.5}}
    other = {"id": "x y", "map": "x y", "objective": {"mean": 0.75} | found, "objectives": {"a": 0.75}}
    best |= {"metrics": {"CIDEr": 17.0}, "precision": {"mean": 0.25, "low": None, "high": None}}
    shown = page(make_run, [own | other, own | best], {"runner": "maps"})
    assert f"fuse0.50{interval}–17.025.0" in shown.text
    assert f"x y0.75{interval}0.25––" in shown.text
    links = [attributes["href"] for tag, attributes in shown.tags if tag == "a"]
    assert links == ["captions/fuse/report.html", "captions/x%20y/report.html", "transfer/report.html"]


def test_inversion(make_run: Make, photo: Any) -> None:
    record = done(photo, targets=["a text", HARMFUL], references=[], image=None)
    scores = {"word_F1": 61.25, "exact_match": 0.0}
    results = {"runner": "invert", "metrics": scores, "metrics_note": "As for SQuAD."}
    shown = page(make_run, [record], results)
    assert f"To be founda text{HARMFUL}" in shown.text
    assert "Against the texts to be found, in percent61.2word_F10.0exact_matchAs for SQuAD." in shown.text
    assert "img" not in {tag for tag, _ in shown.tags}


def test_every_kind_of_run_has_its_template() -> None:
    names = set(environment().list_templates())
    assert {template for _, template, _ in KINDS} <= names
    for name in names - {"style.css"}:
        environment().get_template(name)
