"""Readers of run directories and sweeps: report, status, and the command that goes on."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import fuse_repro.runs.lock as run_lock
from fuse_repro.errors import UsageError
from fuse_repro.report import main as report
from fuse_repro.runs.directory import RECORDS, RunDirectory
from fuse_repro.runs.state import run_state, wanted
from fuse_repro.sweeps.status import main as status
from fuse_repro.sweeps.sweep import open_sweep, read_sweep

from .attempt import Reader
from .run_samples import KINDS, sweep_sample
from .samples import files_of

WEIGHTS = {"tiny": {"model.safetensors": "ab" * 32}}
CONFIG = {"name": "demo", "seed": 0, "paper_cell": "fuse/coco"}
SWEEP_FILES = (
    "sweep.json",
    "slurm_jobs.json",
    "a/status.json",
    "a/manifest.json",
    "a/records.jsonl",
    "a/results.json",
)


def run_readers() -> list[Reader]:
    """All of them."""
    kinds = [
        Reader(f"report of {kind}", files_of(_writer(records, results)), _said(report))
        for kind, (records, results) in KINDS.items()
    ]
    captions = files_of(_writer(*KINDS["captions"]))
    sweep = files_of(sweep_sample)
    return [
        *kinds,
        Reader("report --paper", captions, _said(lambda argv: report(["--paper", *argv]))),
        Reader("run goes on", captions, _goes_on),
        Reader("report of a sweep", sweep, _said(report), SWEEP_FILES),
        Reader("status of a sweep", sweep, _said(lambda argv: status([*argv, "--once"])), SWEEP_FILES),
        Reader("sweep goes on", sweep, _sweep_goes_on, ("sweep.json",)),
    ]


def _writer(records: Sequence[Mapping[str, Any]], results: Mapping[str, Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        run = RunDirectory(folder, CONFIG)
        run.open(device="cpu", weights=WEIGHTS)
        for record in records:
            run.append(record)
        run.finish(results)

    return write


def _said(command: Callable[[list[str]], int]) -> Callable[[Path], None]:
    """Run a command about the folder: it ends well, or with its exit code and one line."""

    def read(folder: Path) -> None:
        os.environ.setdefault("COLUMNS", "100")
        said = StringIO()
        with redirect_stderr(said):
            code = command([str(folder)])
        if code == 2:
            raise UsageError(said.getvalue().removesuffix("\n"))
        assert code in (0, 1), code

    return read


def _goes_on(folder: Path) -> None:
    """What the same command does in the directory of a run, before it computes anything."""
    run = RunDirectory(folder, CONFIG)
    try:
        run_state(folder)
        wanted(folder, "retry_failed")
        run.open(device="cpu", weights=WEIGHTS)
        run.known()
        run.append({"id": "another", "status": "done"})
        run.finish({})
    except UsageError as error:
        run.fail(error)
        raise
    finally:
        run_lock.release(folder / RECORDS)


def _sweep_goes_on(folder: Path) -> None:
    sweep = open_sweep(folder, read_sweep(folder).id, "grid", ["experiment=x"])
    for point in sweep.points.values():
        assert point.label is not None
    sweep.add([])
