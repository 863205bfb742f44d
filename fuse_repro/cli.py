"""The command `fuse-repro`: a run or a sweep from Hydra overrides, how far it is, reports, the cache, the machine."""

import io
import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from omegaconf import DictConfig

EXIT_FAILED, EXIT_USAGE = 1, 2
SWEEPS = ("-m", "--multirun")
EXIT_NO_READER = 141  # what a shell reports of a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments after the command's name; None for those of the process.

    Returns:
        The exit code: 0 done; 1 a run, all of its items or a point of a sweep failed; 2 the command was
        wrong; 3 a run is done but some of its items failed; 130 or 143 interrupted by Ctrl-C or SIGTERM; 141
        the reader of the output has gone, as `| head` does.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: a terminal may lack a letter
    try:
        code = _command(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, where a reader that has gone can be told from a failure
        return code
    except BrokenPipeError:
        if not _drop_what_nobody_reads():
            raise
        return EXIT_NO_READER
    except SystemExit as error:  # rich makes one of a broken pipe
        if isinstance(error.__context__, BrokenPipeError):
            return EXIT_NO_READER
        raise


def _drop_what_nobody_reads() -> bool:
    """Send standard output and error to nowhere if their reader has gone; true if one of them had gone."""
    gone = False
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            os.dup2(
                os.open(os.devnull, os.O_WRONLY), stream.fileno()
            )  # the interpreter flushes once more at its end
            gone = True
    return gone


def _command(arguments: Sequence[str]) -> int:
    """Do what the arguments say, and return the exit code."""
    if not arguments or "-h" in arguments or "--help" in arguments:
        from fuse_repro.help import help_text

        print(help_text())
        return 0 if arguments else EXIT_USAGE
    if arguments[0] == "--version":
        from fuse_repro import __version__

        print(f"fuse-repro {__version__}")
        return 0
    if arguments[0] == "report":
        from fuse_repro.report import main as report_main

        return report_main(arguments[1:])
    if arguments[0] == "status":
        from fuse_repro.sweeps.status import main as status_main

        return status_main(arguments[1:])
    if arguments[0] == "merge":
        from fuse_repro.sweeps.merge import main as merge_main

        return merge_main(arguments[1:])
    if arguments[0] == "cache":
        from fuse_repro.weights.command import main as cache_main

        return cache_main(arguments[1:])
    if arguments[0] == "calibrate":
        from fuse_repro.runners.costs.command import main as calibrate_main

        return calibrate_main(arguments[1:])
    if arguments[0] == "doctor":
        from fuse_repro.doctor import main as doctor_main

        return doctor_main(arguments[1:])
    return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    """Compose the config and run every job of it; say in one line what is wrong with a bad config."""
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from fuse_repro import schema
    from fuse_repro.errors import SweepIncomplete, UsageError
    from fuse_repro.help import explain
    from fuse_repro.runs.signals import (
        EXIT_INTERRUPTED,
        EXIT_TERMINATED,
        Terminated,
        sigterm_raises,
        told_to_stop,
    )
    from fuse_repro.shown import say
    from fuse_repro.sweeps.named_grids import joined

    schema.register()
    flags = get_args_parser().parse_args(arguments)
    sweeping = bool(flags.multirun)
    outcomes: list[int] = []

    def job(config: "DictConfig") -> None:
        from fuse_repro.runners.launch import launch

        outcomes.append(launch(config, Path(config.output_dir).absolute()))

    folder = schema.config_folder()
    decorated = hydra.main(version_base="1.3", config_path=str(folder), config_name="config")(job)
    try:
        _check_flags(flags)
        arguments = joined(arguments) if sweeping else arguments
        with sigterm_raises():
            overrides = [argument for argument in arguments if argument not in SWEEPS]
            if any(one.startswith(("-", "hydra.mode=")) for one in overrides):
                _with_arguments(decorated, arguments)
            else:
                _composed_once(folder, overrides, job, sweeping)
    except (HydraException, OmegaConfBaseException) as error:
        say(explain(error, folder, flags.overrides))
        return EXIT_USAGE
    except UsageError as error:
        say(error)
        return EXIT_USAGE
    except ValueError as error:
        if "integer string conversion" not in str(error):
            raise
        key = max(flags.overrides, key=len).partition("=")[0]
        say(f"{key} is a number of more digits than can be read: give a shorter one")
        return EXIT_USAGE
    except (KeyboardInterrupt, SystemExit) as error:
        if not told_to_stop(error):
            raise
        again = "the same command" if sweeping else "the same command with output_dir=..."
        say(f"interrupted; {again} goes on")
        return EXIT_TERMINATED if isinstance(error, Terminated) else EXIT_INTERRUPTED
    except SweepIncomplete:
        return EXIT_FAILED
    return EXIT_FAILED if EXIT_FAILED in outcomes else max(outcomes, default=0)


def _check_flags(flags: "Namespace") -> None:
    """Refuse flags that do not go together; Hydra's own error is a traceback.

    Raises:
        UsageError: `--cfg` or `--info` with `-m`, `--resolve` without `--cfg`, or a grid without `-m`.
    """
    from fuse_repro.errors import UsageError

    shown = "--cfg" if flags.cfg else "--info" if flags.info is not None else None
    if flags.multirun and shown:
        raise UsageError(f"{shown} shows the config of one run: leave out -m and give every key one value")
    grids = [override for override in flags.overrides if override.startswith("sweep=")]
    if grids and not (flags.multirun or shown):
        raise UsageError(f"{grids[0]} is a grid of runs, and without -m there is one run: give -m {grids[0]}")
    if any(override.lstrip("+").startswith("hydra.run.dir=") for override in flags.overrides):
        raise UsageError("hydra.run.dir is not what says where a run is written: give output_dir=DIR")
    if flags.resolve and not flags.cfg:
        raise UsageError("--resolve goes with --cfg only, such as --cfg job --resolve")


def _composed_once(
    folder: Path, overrides: Sequence[str], job: Callable[["DictConfig"], None], sweeping: bool
) -> None:
    """One run, or a sweep, by Hydra, whose own command composes the config once more to find out which."""
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra

    from fuse_repro.composition import ChoiceLoader

    GlobalHydra.instance().clear()
    app = Hydra("cli", ChoiceLoader(create_config_search_path(str(folder))))
    GlobalHydra.instance().initialize(app)
    try:
        if sweeping:
            app.multirun("config", job, [*overrides, "hydra.mode=MULTIRUN"])
        else:
            app.run("config", job, [*overrides, "hydra.mode=RUN"])
    finally:
        GlobalHydra.instance().clear()


def _with_arguments(command: Callable[[], None], arguments: Sequence[str]) -> None:
    """Call a Hydra command with these arguments; errors come back as exceptions, not as printed text."""
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        command()
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error


if __name__ == "__main__":
    sys.exit(main())
