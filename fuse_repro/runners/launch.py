"""One run from its config: seeds, run directory, runner, report."""

import contextlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import rich
from omegaconf import DictConfig, OmegaConf

from fuse_repro.errors import UsageError, first_line
from fuse_repro.report.page import build_report
from fuse_repro.report.paper import check_cell
from fuse_repro.report.terminal import outcome
from fuse_repro.runners.local_models import with_models_dir
from fuse_repro.runners.quiet import quiet_lightning
from fuse_repro.runners.terms_of_use import check_terms
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.runs.provenance import seed_everything
from fuse_repro.runs.signals import told_to_stop

Runner = Callable[[DictConfig, RunDirectory], dict]


def launch(config: DictConfig, output_dir: Path) -> bool:
    """Run `config` in `output_dir`; true if it ended well. With `dry_run`, only say what it would cost.

    What goes wrong is printed (a user's mistake as one line, anything else with its traceback), and recorded
    in the run directory's status.json. A request to stop is recorded and raised again.
    """
    config = with_models_dir(config)
    try:
        if config.get("dry_run"):
            from fuse_repro.runners.costs.dry_run import print_costs  # loads Lightning

            print_costs([config])
            return True
        resolved = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        directory = RunDirectory(output_dir, resolved)
    except UsageError as error:
        print(f"fuse-repro: {error}", file=sys.stderr)
        return False
    try:
        seed_everything(config.seed)
        check_terms(resolved)
        if config.paper_cell is not None:
            check_cell(config.paper_cell)
        runner = _runner(config)
        _observe(directory, config)
        with quiet_lightning():
            directory.finish(runner(config, directory))
    except BaseException as error:
        stopped = told_to_stop(error)
        with contextlib.suppress(UsageError):  # where even this cannot be written, the first error matters
            (directory.interrupt if stopped else directory.fail)(error)
        if stopped:
            raise
        if not isinstance(error, UsageError):
            traceback.print_exc()
        print(f"fuse-repro: {first_line(error)}", file=sys.stderr)
        return False
    finally:
        directory.observers.close()
    _report(output_dir)
    return True


def _runner(config: DictConfig) -> Runner:
    from fuse_repro.runners.assemble import located  # loads Lightning

    found: Runner = located(config.runner._target_, "runner")
    return found


def _observe(directory: RunDirectory, config: DictConfig) -> None:
    if config.logger:
        from fuse_repro.runners.assemble import build  # loads Lightning

        for observer in build(config.logger, directory.path):
            directory.observers.add(observer)


def _report(output_dir: Path) -> None:
    """A run whose report cannot be written is done all the same."""
    try:
        table = outcome(output_dir)
        if table is not None:
            rich.print(table)
        print(f"report: {build_report(output_dir)}", file=sys.stderr)
    except Exception as error:
        if not isinstance(error, UsageError):
            traceback.print_exc()
        print(f"fuse-repro: no report: {first_line(error)}", file=sys.stderr)
