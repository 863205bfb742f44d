"""The page of a sweep: every point is counted and shown as its files say."""

import json
import re
from pathlib import Path

import pytest
from report_samples import HARMFUL
from sweep_samples import caption, cell, point, run_at, write_sweep
from test_report_page import browse, check, has_chromium

from fuse_repro.errors import UsageError
from fuse_repro.report import build_sweep_report, main
from fuse_repro.report.measures import Measure, measures
from fuse_repro.report.plots.sweep import MOST_LINES
from fuse_repro.report.sweep_points import point_reports, varying_axes
from fuse_repro.runs.sweep_file import read_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two candidates x two seeds done, one failed, one interrupted, one damaged, one not begun."""
    path = tmp_path / "sweep"
    points = []
    for candidates, seed, objective in [(64, 0, 4.0), (64, 1, 6.0), (None, 0, 2.0), (None, 1, 2.0)]:
        name = f"c{candidates}s{seed}"
        points.append(point(name, optimizer__candidates=candidates, seed=seed))
        run = run_at(
            path / name, [caption("a", objective), caption("b", objective + 1)], paper_cell="fuse/coco"
        )
        run.finish({"runner": "captions", "metrics": {"CIDEr": 0.2, "BLEU-1": 0.3, "items": 2}})
    points += [
        point("bad", optimizer__candidates=64, seed=2),
        point("stopped", optimizer__candidates=None, seed=2),
    ]
    points += [
        point("torn", optimizer__candidates=64, seed=3),
        point("left", optimizer__candidates=None, seed=3),
    ]
    try:
        raise RuntimeError(f"out of memory {HARMFUL}")
    except RuntimeError as error:
        run_at(path / "bad").fail(error)
    run_at(path / "stopped", [caption("a", 1.0)]).interrupt(KeyboardInterrupt())
    run_at(path / "torn").finish({})
    (path / "torn" / "results.json").write_text("{")
    return write_sweep(path, points, name=HARMFUL)


def test_every_point_is_counted_and_shown(sweep: Path) -> None:
    page = check(build_sweep_report(sweep))
    for part in ("4done", "1interrupted", "2failed", "1left"):
        assert part in page.text, part
    for part in ("Points8", "optimizer.candidates64, all", "fuse-repro -m experiment=x"):
        assert part in page.text, part
    assert f"RuntimeError: out of memory {HARMFUL}" in page.text
    assert "Traceback (most recent call last)" in page.text
    assert "results.json is damaged" in page.text
    assert "script" not in {tag for tag, _ in page.tags}


def test_the_plots_show_means_over_seeds(sweep: Path) -> None:
    page = check(build_sweep_report(sweep))
    drawn = [attributes["aria-label"] for tag, attributes in page.tags if attributes.get("role") == "img"]
    assert "mean objective against optimizer.candidates. value: 64 5.500, all 2.500" in drawn
    assert "image (raw) against optimizer.candidates. value: 64 0.500, all 0.500" in drawn
    assert not [label for label in drawn if "against seed" in label]
    assert len(drawn) == 4


def test_points_link_to_their_pages_where_there_are_any(sweep: Path) -> None:
    def links() -> list[str]:
        page = check(build_sweep_report(sweep))
        return [attributes["href"] for tag, attributes in page.tags if tag == "a"]

    assert links() == []
    assert main([str(sweep / "c64s0")]) == 0
    assert links() == ["c64s0/report.html"]
    assert (sweep / links()[0]).exists()


def test_the_papers_values_stand_beside_ours(sweep: Path) -> None:
    text = check(build_sweep_report(sweep)).text
    assert "fuse/cocoFUSE, Table 1CIDEr15.9320.00 (20.00 to 20.00)+4.07" in text
    assert "fuse/cocoFUSE, Table 1SPICE9.15not run–" in text


def test_methods_are_lines_and_other_axes_split_them(tmp_path: Path) -> None:
    path, points = tmp_path / "sweep", []
    for m in (1, 10):
        for target in ("self", "cross"):
            name = f"m{m}{target}"
            points.append(point(name, tuning__m=m, target=target))
            cells = [
                cell("P1", seed, f"method{place}", 0.01 * (m + place + seed))
                for seed in (0, 1)
                for place in range(MOST_LINES)
            ]
            run_at(path / name, cells).finish({"runner": "transfer"})
    page = check(build_sweep_report(write_sweep(path, points)))
    drawn = [attributes["aria-label"] for tag, attributes in page.tags if attributes.get("role") == "img"]
    assert [label.split(".", 2)[0] for label in drawn] == [
        "precision@1, percent against tuning",
        "precision@1, percent against tuning",
        "precision@1, percent against target, tuning",
        "precision@1, percent against target, tuning",
    ]
    assert "tuning.m, target=cross. method0: 1 1.500, 10 10.500; method1: 1 2.500" in drawn[1]
    assert "tuning.m=10. method0: self 10.500, cross 10.500" in drawn[3]
    assert "precision@1, percent of every method." in page.text


def test_a_sweep_without_a_result_has_a_page(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "sweep", [point("a", seed=0), point("b", seed=1)])
    text = check(build_sweep_report(path)).text
    assert "2left" in text
    assert "Metrics against" not in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "sweep.json is damaged"),
        (
            '{"format": 2, "points": []}',
            "format 2, and this version reads format 1: use the version that wrote it",
        ),
        ('{"format": 1}', "is damaged"),
        ('{"format": 1, "points": [3]}', "is damaged"),
        ('{"format": 1, "points": [{"id": "a"}]}', "is damaged"),
    ],
)
def test_damaged_sweeps_are_one_line(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
    with pytest.raises(UsageError, match=r"give the directory of a run"):
        read_sweep(tmp_path / "nowhere")


def axes(path: Path) -> dict[str, list]:
    return varying_axes(point_reports(read_sweep(path)))


def test_text_of_the_command_line_is_read_as_values(tmp_path: Path) -> None:
    overrides = [{"k": "512"}, {"k": "null"}, {"k": 8}, {"k": 64}]
    points = [{"id": str(i), "directory": str(i), "overrides": row} for i, row in enumerate(overrides)]
    assert axes(write_sweep(tmp_path / "sweep", points)) == {"k": [8, 64, 512, None]}
    points = [
        {"id": str(i), "directory": str(i), "overrides": {"k": row}} for i, row in enumerate(["b", [1, 2]])
    ]
    assert axes(write_sweep(tmp_path / "other", points)) == {"k": ["b", "[1, 2]"]}


def test_measures_of_every_kind_of_run() -> None:
    assert measures([], {"metrics": {"CIDEr": 1.0}}) == []
    assert measures([{"status": "failed"}], {}) == []
    transfer = [cell("a", 0, "m", 0.2), cell("b", 0, "m", 0.4), cell("a", 1, "m", 0.8), {"status": "failed"}]
    assert measures(transfer, {}) == [
        Measure("precision@1, percent", "m", (pytest.approx(30), pytest.approx(80)))
    ]
    table = {"fuse": {"spearman": {"mean": 0.2}, "recall@64": {"mean": 0.3}, "recall@512": {"mean": 0.6}}}
    fidelity = [{"status": "done", "kind": "fidelity", "objective": "fluency", "methods": {}}]
    assert measures(fidelity, {"methods": table}) == [
        Measure("Spearman", "fuse", (0.2,)),
        Measure("recall@512", "fuse", (0.6,)),
    ]
    assert measures(fidelity, {}) == []


@pytest.mark.skipif(not has_chromium(), reason="needs chromium on PATH")
def test_a_browser_shows_the_sweep_without_errors_or_requests(sweep: Path, tmp_path: Path) -> None:
    console, asked, shot = browse(build_sweep_report(sweep), tmp_path)
    assert (console, asked) == ([], set())
    assert shot.stat().st_size > 10_000


def test_the_page_is_the_same_when_it_is_made_again(sweep: Path) -> None:
    page = build_sweep_report(sweep)
    first = page.read_bytes()
    assert build_sweep_report(sweep).read_bytes() == first
    ids = re.findall(r'id="([^"]+)"', first.decode())
    clips = [name for name in ids if re.fullmatch(r"p[0-9a-f]{6,}", name)]
    assert len(clips) == len(set(clips)), "ids of one drawing do not clash with those of another"
    assert json.loads((sweep / "sweep.json").read_text())["format"] == 1
