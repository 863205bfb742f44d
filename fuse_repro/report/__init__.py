"""Self-contained HTML reports, made from the files of a run or sweep directory and nothing else."""

from fuse_repro.report.command import main
from fuse_repro.report.page import build_report
from fuse_repro.report.pages.sweep import build_sweep_report

__all__ = ["build_report", "build_sweep_report", "main"]
