"""The command `fuse-repro cache`: what downloaded weights there are, whether they are intact, and what can go."""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from fuse_repro.errors import UsageError, first_line
from fuse_repro.shown import say, shown
from fuse_repro.weights.cache import cache_folder
from fuse_repro.weights.housekeeping import Entry, discard, entries, leaving
from fuse_repro.weights.verify import ALWAYS, NEVER

BY = "fuse-repro cache"  # who says a line on standard error
WIDE = 200  # columns where nobody looks at a terminal
EXIT_DAMAGED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str]) -> int:
    """List, verify or prune the cache.

    Args:
        argv: the arguments after `cache`.

    Returns:
        The exit code: 0, 1 if an entry is damaged or cannot be removed, 2 with one line on standard error where
        there is no such cache or it cannot be read, 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        cache = cache_folder(arguments.cache_dir)
        if arguments.cache_dir is not None and not cache.is_dir():
            raise UsageError(f"--cache-dir={str(cache)!r} is not a folder: name that of downloaded weights")
        if not cache.is_dir():
            print(shown(f"{cache}: nothing is cached yet"))
            return 0
        if arguments.action == "prune":
            return _prune(cache, arguments.older_than, arguments.all, arguments.dry_run)
        return _show(cache, ALWAYS if arguments.action == "verify" else NEVER)
    except UsageError as error:
        say(error, BY)
        return EXIT_USAGE
    except BrokenPipeError:
        raise
    except OSError as error:
        say(f"{first_line(error)}: check the folder and its permissions", BY)
        return EXIT_USAGE
    except KeyboardInterrupt:
        say("interrupted; the same command goes on", BY)
        return EXIT_INTERRUPTED


def _show(cache: Path, mode: str) -> int:
    """Print the entries; those that are damaged on standard error, too, when they were hashed."""
    found = list(entries(cache, mode))
    rows = Table("entry", "size", "made", "source", "state", expand=False)
    for entry in found:
        state = (entry.damage and f"damaged: {entry.damage}") or ("intact" if mode == ALWAYS else "complete")
        row = (entry.path.name, decimal(entry.size), _day(entry), entry.source, state)
        rows.add_row(*(Text(shown(value), overflow="fold") for value in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    if found:
        console.print(rows)
    total = decimal(sum(entry.size for entry in found))
    console.print(Text(shown(f"{cache}: {len(found)} entries, {total}"), overflow="fold"))
    if mode != ALWAYS:
        return 0
    damaged = [entry for entry in found if entry.damage is not None]
    for entry in damaged:
        say(f"{entry.path} is damaged: {entry.damage}", BY)
    return EXIT_DAMAGED if damaged else 0


def _prune(cache: Path, older_than: float | None, everything: bool, dry_run: bool) -> int:
    """Remove what can go, and say what and how much it was."""
    freed = count = failed = 0
    for item in leaving(cache, older_than, everything):
        name = item.path.relative_to(cache)
        try:
            gone = discard(item, dry_run)
        except OSError as error:
            say(f"cannot remove {name}: {first_line(error)}", BY)
            failed += 1
            continue
        if gone:
            verb = "would remove" if dry_run else "removed"
            print(shown(f"{verb} {name} ({item.size:,} bytes, {item.reason})"))
            freed, count = freed + item.size, count + 1
        else:
            print(shown(f"left {name}: another process is at work on it"))
    verb = "would remove" if dry_run else "removed"
    print(shown(f"{cache}: {verb} {count} in all, {freed:,} bytes"))
    return EXIT_DAMAGED if failed else 0


def _day(entry: Entry) -> str:
    return "?" if entry.made is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.made))


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not (days >= 0 and math.isfinite(days)):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: a number of days, 0 or more")
    return days


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fuse-repro cache",
        description="Downloaded and converted weights; fitted adapters and tuned prompts are left alone.",
    )
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--cache-dir", metavar="DIR", help="the cache (default: FUSE_REPRO_CACHE, else ~/.cache/fuse_repro)"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|verify|prune")
    actions.add_parser("list", parents=[where], help="every entry, its size, its source and when it was made")
    actions.add_parser("verify", parents=[where], help="hash every file; exit code 1 if one is damaged")
    prune = actions.add_parser("prune", parents=[where], help="remove damaged entries and interrupted work")
    which = prune.add_mutually_exclusive_group()
    which.add_argument(
        "--older-than", metavar="DAYS", type=_days, help="entries made longer ago than that, too"
    )
    which.add_argument("--all", action="store_true", help="all entries")
    prune.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    return parser
