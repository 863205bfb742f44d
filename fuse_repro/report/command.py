"""The command `fuse-repro report`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fuse_repro.errors import UsageError
from fuse_repro.report.page import build_report
from fuse_repro.report.pages.sweep import build_sweep_report
from fuse_repro.report.paper import collect, compare, print_comparison
from fuse_repro.report.plots.export import figures_in
from fuse_repro.report.tables import csv_table, latex_table, table_rows
from fuse_repro.runs.look import look_at
from fuse_repro.runs.sweep_file import is_sweep, read_sweep
from fuse_repro.shown import say, shown


def main(argv: Sequence[str] | None = None) -> int:
    """Write DIR/report.html of each run or sweep and print its path, print its table, or compare runs with the papers.

    Args:
        argv: the arguments after `report`.

    Returns:
        The exit code: 0, or 2 with one line on standard error where DIR is neither a run nor a sweep. What cannot be
        read of a run or a sweep is a line on standard error each, and so on the page.
    """
    parser = argparse.ArgumentParser(
        prog="fuse-repro report", description="Write one self-contained HTML page about a run or a sweep."
    )
    parser.add_argument(
        "directories",
        metavar="DIR",
        type=Path,
        nargs="*",
        help="run directory, or sweep directory with sweep.json",
    )
    parser.add_argument(
        "--paper",
        action="store_true",
        help="print the papers' values beside those of all runs below DIR that set paper_cell; nothing is written",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--csv", action="store_true", help="print what was measured as CSV; nothing is written")
    what.add_argument("--latex", action="store_true", help="print what was measured as a LaTeX table")
    parser.add_argument(
        "--figures",
        metavar="FOLDER",
        type=Path,
        help="also write every figure of the page to this folder, as PDF and PNG",
    )
    arguments = parser.parse_args(argv)
    if not (arguments.directories or arguments.paper):
        parser.error("give the directory of a run or a sweep")
    try:
        if arguments.paper:
            print_comparison(compare(collect(arguments.directories, _say)))
            return 0
        if arguments.csv or arguments.latex:
            rows = [row for directory in arguments.directories for row in table_rows(directory)]
            if not rows:
                raise UsageError(
                    f"{arguments.directories[0]}: nothing is measured yet: wait until an item is done"
                )
            print((csv_table if arguments.csv else latex_table)(rows), end="")
        if arguments.figures is not None:
            with figures_in(arguments.figures) as album:
                _pages(arguments.directories)
            for path in album.written:
                print(shown(path))
        elif not (arguments.csv or arguments.latex):
            _pages(arguments.directories)
    except UsageError as err:
        _say(str(err))
        return 2
    return 0


def _pages(directories: Sequence[Path]) -> None:
    """Write the page of every run or sweep, and say where it is and what could not be read."""
    for directory in directories:
        sweep = is_sweep(directory)
        print(shown(build_sweep_report(directory) if sweep else build_report(directory)))
        for line in read_sweep(directory).damage if sweep else look_at(directory).damage:
            _say(line)


def _say(line: str) -> None:
    say(line, "fuse-repro report")
