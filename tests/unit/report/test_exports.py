"""What was measured as CSV and LaTeX, and the figures of a page as files."""

import csv
import io
from pathlib import Path

import pytest
from PIL import Image
from sweep_samples import caption, cell, point, run_at, write_sweep

from fuse_repro.metrics.statistics import Interval
from fuse_repro.report import main
from fuse_repro.report.tables import Row, latex_table
from fuse_repro.runners.transfer.results import summary


@pytest.fixture
def transfer(tmp_path: Path) -> Path:
    """Two methods on two tasks with two seeds."""
    shares = {"relative": [0.5, 0.7, 0.9, 0.9], "ridge_50%": [0.2, 0.2, 0.3, 0.3]}
    places = [(task, seed) for task in ("P30", "P36") for seed in (0, 1)]
    cells = [
        cell(task, seed, name, share)
        for name, values in shares.items()
        for (task, seed), share in zip(places, values, strict=True)
    ]
    run = run_at(tmp_path / "moved", cells)
    run.finish(summary(run.records(), "test"))
    return run.path


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path, points = tmp_path / "sweep", []
    for beam in (1, 3):
        points.append(point(f"b{beam}", optimizer__beam=beam))
        run = run_at(path / f"b{beam}", [caption("a", 4.0 - beam), caption("b", 5.0 - beam)])
        run.finish({"runner": "captions", "metrics": {"CIDEr": 0.1 * beam}})
    points.append(point("left", optimizer__beam=5))
    return write_sweep(path, points, name="beams")


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_transfer_has_a_row_per_method_with_the_intervals_of_its_results(
    transfer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(transfer), "--csv"]) == 0
    relative, ridge = read(capsys.readouterr().out)
    assert (relative["method"], relative["metric"]) == ("relative", "precision@1, percent")
    assert float(relative["mean"]) == pytest.approx(75)
    assert float(relative["low"]) < 75 < float(relative["high"])
    assert float(ridge["mean"]) == pytest.approx(25)
    assert not (transfer / "report.html").exists(), "a table is printed, nothing is written"
    assert main([str(transfer), "--latex"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert r"method & precision@1, percent \\" in lines
    (line,) = [line for line in lines if line.startswith("ridge")]
    assert line.startswith(r"ridge\_50\% & 25.0 [")


def test_a_sweep_has_a_row_per_point_that_is_done(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep), "--csv"]) == 0
    rows = [row for row in read(capsys.readouterr().out) if row["metric"] == "mean objective"]
    assert [(row["run"], row["optimizer.beam"], float(row["mean"])) for row in rows] == [
        ("b1", "1", 3.5),
        ("b3", "3", 1.5),
    ]
    assert main([str(sweep), "--latex"]) == 0
    body = capsys.readouterr().out
    assert body.count(r"\\") == 3
    assert "optimizer.beam & " in body


def test_every_figure_becomes_two_files(
    sweep: Path, transfer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "figures"
    assert main([str(sweep), str(transfer), "--figures", str(folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    files = sorted(folder.iterdir())
    assert [str(path) for path in sorted(map(Path, said[2:]))] == [str(path) for path in files]
    assert {path.suffix for path in files} == {".pdf", ".png"}
    assert [path.stem for path in files if "methods" in path.name] == ["04-methods", "04-methods"]
    assert len(files) == 2 * 4, "three metrics against the beam, and the methods"
    assert (sweep / "report.html").exists()
    colours: set[tuple[int, ...]] = set()
    for path in files:
        if path.suffix == ".png":
            with Image.open(path) as image:
                colours |= {colour for _, colour in image.convert("RGB").getcolors(2**20) or []}
        else:
            assert path.read_bytes().startswith(b"%PDF")
    assert {(0x1C, 0x68, 0xA8), (0xDD, 0xDD, 0xDD)} <= colours, "a series and the grid, as in print"


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_at(tmp_path / "empty")
    assert main([str(run.path), "--csv"]) == 2
    assert "nothing is measured yet" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main([str(run.path), "--figures", str(tmp_path / "file")]) == 2
    assert "give another folder" in capsys.readouterr().err


def test_signs_of_latex_are_written_as_text() -> None:
    row = Row("run", {"a_b": None, "c": "x&y"}, "m~1", {"d#": Interval(1.0, None, None, 1)})
    found = latex_table([row])
    assert r"a\_b & c & method & d\# \\" in found
    assert r"all & x\&y & m\textasciitilde{}1 & 1.000 \\" in found
