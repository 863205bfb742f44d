"""The command `fuse-repro calibrate`: what this machine computes in a second, for `dry_run=true`."""

import argparse
from collections.abc import Sequence

from fuse_repro.errors import UsageError
from fuse_repro.runners.costs.calibration import checked_device, keep, measure
from fuse_repro.shown import say, shown
from fuse_repro.weights.cache import cache_folder

EXIT_USAGE, EXIT_INTERRUPTED = 2, 130


def main(argv: Sequence[str]) -> int:
    """Measure a device and keep what was found.

    Args:
        argv: the arguments after `calibrate`.

    Returns:
        The exit code: 0; 2 with one line on standard error for a device that is not there; 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        rate = measure(checked_device(arguments.device), arguments.dtype)
        path = keep(rate, cache_folder(arguments.cache_dir))
    except UsageError as error:
        say(error, "fuse-repro calibrate")
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    print(shown(rate))
    print(f"matrix products: {rate.products:.3g} x 10^12 operations per second")
    print(
        f"a small language model: {rate.model:.3g} x 10^12 operations per second; dry_run=true counts with this"
    )
    print(shown(f"kept in {path}"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fuse-repro calibrate", description="Measure what a device computes, for dry_run=true."
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--dtype", default="float32", help="float32, bfloat16 or float16 (default: %(default)s)"
    )
    parser.add_argument("--cache-dir", metavar="DIR", help="default: that of the weights")
    return parser
