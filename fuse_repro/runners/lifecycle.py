"""The life of a run, or of a part of one, in its directory: seeds, observers, the runner, how it ended, the report."""

import contextlib
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from fuse_repro.errors import UsageError, first_line
from fuse_repro.quiet import quiet_lightning
from fuse_repro.report.page import build_report
from fuse_repro.report.paper import check_cell
from fuse_repro.runners.build import build, located
from fuse_repro.runners.models import check_models
from fuse_repro.runners.terms_of_use import check_terms
from fuse_repro.runners.values import check_values
from fuse_repro.runs.directory import RESULTS, RunDirectory
from fuse_repro.runs.files import read_json
from fuse_repro.runs.provenance import seed_everything
from fuse_repro.runs.signals import told_to_stop
from fuse_repro.runs.state import DONE, run_state, wanted
from fuse_repro.shown import say
from fuse_repro.weights.verify import CHANGED, verifying

Runner = Callable[[DictConfig, RunDirectory], dict]


def open_directory(config: DictConfig, path: Path) -> RunDirectory:
    """The run directory of a config; nothing is written yet. Raises UsageError for a resume that there is not."""
    return RunDirectory(path, cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)))


def carry_out(config: DictConfig, directory: RunDirectory) -> None:
    """Let the config's runner do its work; the directory and the loggers are told how it ended.

    Raises:
        UsageError: a mistake that ended the run, or every item failed.
        BaseException: whatever else ended it, once it is recorded.
    """
    try:
        seed_everything(config.seed)
        if config.paper_cell is not None:
            check_cell(config.paper_cell)
        check_terms(directory.config)
        check_place(directory.path)
        runner: Runner = located(config.runner._target_, "runner")
        check_values(config)
        check_models(directory.config)
        observe(directory, config)
        with verifying(OmegaConf.select(config, "weights.verify", default=CHANGED)), quiet_lightning():
            results = runner(config, directory)
            _check_items(directory.records())
            directory.finish(results)
    except BaseException as error:
        with contextlib.suppress(UsageError):  # where even this cannot be written, the first error matters
            (directory.interrupt if told_to_stop(error) else directory.fail)(error)
        raise
    finally:
        directory.observers.close()


def check_place(path: Path) -> None:
    """Raise UsageError, before anything is loaded, if nothing can be written in the directory of a run."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    remedy = "choose another place with output_dir=... or output_root=..."
    if not there.is_dir():
        raise UsageError(f"cannot write {path}: {there} is a file; {remedy}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {path}: {there} may not be written to; {remedy}")


def run_part(config: DictConfig, path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Run a part of a run as a run of its own: `config.resume` says whether it is entered again.

    Args:
        config: the part's own config (see part_values).
        path: its run directory, below that of the whole.

    Returns:
        Its results; or None, and in one line why there are none.

    Raises:
        Exception: what ended it, unless that was a user's mistake.
    """
    directory = open_directory(config, path)
    if wanted(path, directory.resume):
        try:
            carry_out(config, directory)
        except UsageError as error:
            return None, first_line(error)
        write_report(path)
    state = run_state(path)
    if state.state != DONE:
        return None, state.error or f"{path} is {state.state}"
    return read_json(path / RESULTS), None


def write_report(path: Path) -> Path | None:
    """The report of a run that is done; one that cannot be written is said, and the run is done all the same."""
    try:
        return build_report(path)
    except Exception as error:
        if not isinstance(error, UsageError):
            traceback.print_exc()
        say(f"no report: {first_line(error)}")
        return None


def _check_items(records: Sequence[Mapping[str, Any]]) -> None:
    """A run all of whose items failed has failed."""
    if records and all(record.get("status") == "failed" for record in records):
        raise UsageError(f"every item failed; the first error: {records[0].get('error')}")


def observe(directory: RunDirectory, config: DictConfig) -> None:
    """Have the loggers of the config told of the run in `directory`."""
    if config.logger:
        for observer in build(config.logger, directory.path):
            directory.observers.add(observer)
