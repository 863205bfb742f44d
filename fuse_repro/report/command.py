"""The command `fuse-repro report DIR`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fuse_repro.errors import UsageError
from fuse_repro.report.page import build_report


def main(argv: Sequence[str] | None = None) -> int:
    """Write DIR/report.html and print its path.

    Returns the exit code: 0, or 2 with one line on standard error where DIR is not a run directory.
    """
    parser = argparse.ArgumentParser(
        prog="fuse-repro report", description="Write one self-contained HTML page about a run."
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="run directory, with manifest.json in it")
    arguments = parser.parse_args(argv)
    try:
        print(build_report(arguments.directory))
    except UsageError as err:
        print(f"fuse-repro report: {err}", file=sys.stderr)
        return 2
    return 0
