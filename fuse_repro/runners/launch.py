"""One run from its config, with its outcome in the terminal and an exit code."""

import traceback
from pathlib import Path

import rich
from omegaconf import DictConfig

from fuse_repro.errors import UsageError, first_line, require
from fuse_repro.report.terminal import outcome
from fuse_repro.runners.lifecycle import carry_out, open_directory, write_report
from fuse_repro.runners.local_models import with_models_dir
from fuse_repro.runs.directory import make_run_folder
from fuse_repro.runs.signals import told_to_stop
from fuse_repro.runs.state import failed_records
from fuse_repro.shown import say

EXIT_DONE, EXIT_FAILED, EXIT_PARTLY = 0, 1, 3


def launch(config: DictConfig, output_dir: Path) -> int:
    """Run `config` in `output_dir`. With `dry_run`, only say what it would cost.

    What goes wrong is printed (a user's mistake as one line, anything else with its traceback), and recorded
    in the run directory's status.json. A request to stop is recorded and raised again.

    Returns:
        The exit code: 0 done, 3 done but for some items that failed, 1 where all of them did or the run itself.
    """
    config = with_models_dir(config)
    try:
        given = str(config.output_dir)
        require(
            bool(given.strip()), "output_dir", given, "name a folder, or leave it out for outputs/NAME/TIME"
        )
        if config.get("dry_run"):
            from fuse_repro.runners.costs.dry_run import print_costs  # loads Lightning

            print_costs([config])
            return EXIT_DONE
        directory = open_directory(config, output_dir)
        make_run_folder(output_dir)
    except UsageError as error:
        say(error)
        return EXIT_FAILED
    try:
        carry_out(config, directory)
    except BaseException as error:
        if told_to_stop(error):
            raise
        if not isinstance(error, UsageError):
            traceback.print_exc()
        say(first_line(error))
        return EXIT_FAILED
    _show(output_dir)
    return EXIT_PARTLY if failed_records(output_dir) else EXIT_DONE


def _show(output_dir: Path) -> None:
    try:
        table = outcome(output_dir)
        if table is not None:
            rich.print(table)
    except Exception as error:
        if not isinstance(error, UsageError):
            traceback.print_exc()
        say(f"no outcome to show: {first_line(error)}")
    report = write_report(output_dir)
    if report is not None:
        say(report, "report")
