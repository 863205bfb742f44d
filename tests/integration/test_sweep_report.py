"""A sweep from the command line ends in one page over its points, as a browser shows it."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from statistics import fmean

import pytest

from fuse_repro.cli import main
from fuse_repro.runs.directory import read_records


def browser_text(page: Path, scratch: Path) -> tuple[str, str]:
    """The page's content as a browser takes it, and what it prints to its console."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    command += ["--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={scratch / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(re.findall(r"CONSOLE.*", done.stderr))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium on PATH")
def test_a_sweep_of_captions(
    tiny_overrides: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "sweep"
    grid = ["optimizer.candidates=0,4,8", "seed=0,1"]
    own = [
        f"dataset.path={photos}",
        "dataset.limit=2",
        f"sweep_dir={directory}",
        "hydra.launcher.in_process=true",
    ]
    assert main(["-m", *tiny_overrides, *own, *grid]) == 1
    capsys.readouterr()
    assert main(["report", str(directory)]) == 0
    page = directory / "report.html"
    assert capsys.readouterr().out == f"{page}\n"
    shown, console = browser_text(page, tmp_path)
    assert console == ""
    assert '>4</span><span class="label">done</span>' in shown
    assert '>2</span><span class="label">failed</span>' in shown
    assert shown.count("optimizer.candidates=0 is not allowed") >= 2
    points = json.loads((directory / "sweep.json").read_text())["points"]
    means = {}
    for candidates in (4, 8):
        chosen = [point for point in points if point["overrides"]["optimizer.candidates"] == candidates]
        assert len(chosen) == 2
        runs = [read_records(directory / point["directory"]) for point in chosen]
        means[candidates] = fmean(fmean(record["objective"] for record in records) for records in runs)
    label = re.search(r'aria-label="mean objective against optimizer\.candidates\. ([^"]*)"', shown)
    assert label is not None
    drawn = {int(x): float(y) for x, y in re.findall(r"(\d+) ([\d.]+)(?=,|$)", label[1])}
    assert drawn == pytest.approx(means, abs=1e-3)
    for point in points:
        linked = f"{point['directory']}/report.html"
        assert (linked in shown) == (point["overrides"]["optimizer.candidates"] > 0)
        assert (directory / linked).exists() == (linked in shown)


def test_a_cell_that_is_in_no_paper_is_one_line(
    tiny_overrides: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [f"dataset.path={photos}", f"output_dir={tmp_path / 'run'}", "paper_cell=fuse/cocoa"]
    assert main([*tiny_overrides, *own]) == 1
    printed = capsys.readouterr().err
    assert "paper_cell='fuse/cocoa' is not allowed: a cell of a paper" in printed
    assert printed.count("\n") == 1
