"""One run from its config: seeds, run directory, runner, report."""

import contextlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from fuse_repro.errors import UsageError, first_line
from fuse_repro.provenance import seed_everything
from fuse_repro.report.page import build_report
from fuse_repro.run_directory import RunDirectory
from fuse_repro.runners.quiet import quiet_lightning

Runner = Callable[[DictConfig, RunDirectory], dict]


def launch(config: DictConfig, output_dir: Path) -> bool:
    """Run `config` in `output_dir`; true if it ended well.

    What goes wrong is printed (a user's mistake as one line, anything else with its traceback), and recorded
    in the run directory's status.json.
    """
    try:
        resolved = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        directory = RunDirectory(output_dir, resolved)
    except UsageError as error:
        print(f"fuse-repro: {error}", file=sys.stderr)
        return False
    try:
        seed_everything(config.seed)
        runner: Runner = get_method(config.runner._target_)
        with quiet_lightning():
            directory.finish(runner(config, directory))
        print(f"report: {build_report(output_dir)}", file=sys.stderr)
    except BaseException as error:
        with contextlib.suppress(UsageError):  # where even this cannot be written, the first error matters
            directory.fail(error)
        if isinstance(error, KeyboardInterrupt):
            raise
        if not isinstance(error, UsageError):
            traceback.print_exc()
        print(f"fuse-repro: {first_line(error)}", file=sys.stderr)
        return False
    return True
