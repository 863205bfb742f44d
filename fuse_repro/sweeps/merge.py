"""The command `fuse-repro merge DIR`: one result out of the shards in a sweep directory, or in any folder of runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import rich

from fuse_repro.data.shards import SHARD_KEY
from fuse_repro.errors import UsageError
from fuse_repro.report.terminal import outcome
from fuse_repro.runners.merge import Merged, merge_runs
from fuse_repro.runs.merged import merged_place
from fuse_repro.runs.shard_runs import difference, grouped, shard_runs
from fuse_repro.runs.sweep_file import Sweep, is_sweep, read_sweep
from fuse_repro.shown import say
from fuse_repro.sweeps.compose import LENGTH

EXIT_DONE, EXIT_USAGE, EXIT_PARTLY = 0, 2, 3
NAME = "fuse-repro merge"


def main(argv: Sequence[str]) -> int:
    """Merge the shards in DIR.

    Args:
        argv: the arguments after `merge`.

    Returns:
        The exit code: 0; 3 if a shard lacks items or an item failed; 2 with one line on standard error if there is
        nothing that can be merged.
    """
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Join what the shards of a data set have found, as one undivided run would have written it.",
    )
    parser.add_argument(
        "directory",
        metavar="DIR",
        type=Path,
        help="sweep directory, or a folder with the run directories of all shards",
    )
    arguments = parser.parse_args(argv)
    try:
        results = merge(arguments.directory.absolute())
        for one in results:
            table = outcome(one.path)
            if table is not None:
                rich.print(table)
    except UsageError as error:
        say(error, NAME)
        return EXIT_USAGE
    return EXIT_PARTLY if any(one.missing or one.failed for one in results) else EXIT_DONE


def merge(folder: Path) -> list[Merged]:
    """Merge the shards in `folder` and say where the result is and what it lacks.

    A sweep over shards and other keys has a result for each combination of the others.

    Raises:
        UsageError: no shard, shards that do not belong together, or a shard that was changed by hand.
    """
    runs = shard_runs(folder)
    if not runs:
        raise UsageError(
            f"{folder} has no shard: give a sweep directory, or a folder with the run directories of dataset.shards=N "
            "dataset.shard=0, 1, ..."
        )
    groups = grouped(runs)
    if len(groups) > 1 and not is_sweep(folder):
        one, other = groups[0][0], groups[1][0]
        raise UsageError(
            f"{one.path} and {other.path} are shards of different runs: {difference(one, other)}; put the shards of "
            "each run into a folder of their own"
        )
    several = len(groups) > 1 or (is_sweep(folder) and _others_are_swept(read_sweep(folder)))
    found = []
    for group in groups:
        identity = group[0].identity[0][:LENGTH]
        found.append(merge_runs(group, merged_place(folder, identity if several else None)))
        _say(found[-1], len(group))
    return found


def _others_are_swept(sweep: Sweep) -> bool:
    """Whether a key other than the shard has several values, so that there are several results."""
    return any(len(values) > 1 for key, values in sweep.axes.items() if key != SHARD_KEY)


def _say(merged: Merged, there: int) -> None:
    for line in merged.missing:
        say(line)
    how = (
        "holds this result already" if not merged.changed else "incomplete" if merged.missing else "complete"
    )
    say(f"{merged.path}: {there} of {merged.shards} shards, {merged.total} items in all; {how}", "merged")
