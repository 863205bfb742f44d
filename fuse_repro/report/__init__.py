"""Self-contained HTML reports, made from the files of a run directory and nothing else."""

from fuse_repro.report.command import main
from fuse_repro.report.page import build_report

__all__ = ["build_report", "main"]
