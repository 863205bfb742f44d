"""kill -9 at random moments of every kind of work; the same command again until it is done; the same bytes.

    PYTHONPATH=.:tests:tests/unit/weights python benchmarks/kill_survival.py [--kills 200] [--only KIND ...]

Every fifth start is a process of its own, whose imports are disturbed, too; the others are forked from one that has
imported everything, so that the moments fall on the work itself. Some 40 minutes for 200 kills on two cores.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _kill_work
from _common import report
from _kill_work import OWN, Work

FRESH_EVERY = 5
MOST_KILLS = 4  # of one piece of work, until it is left to end
RERUNS = 10
LISTS = ("unequal", "failed_starts")
KEPT = (".lock", ".verified", ".struck")  # hidden files that stay
PATHS = (
    Path(__file__).parents[1],
    *(Path(__file__).parents[1] / "tests" / part for part in (".", "unit/weights")),
)


@dataclass
class Tally:
    """What came of one kind of work."""

    kills: int = 0
    kills_of_fresh_processes: int = 0
    kills_within_a_second: int = 0
    finished_pieces: int = 0
    records: int = 0
    records_there_twice: int = 0
    unequal: list[str] = field(default_factory=list)
    failed_starts: list[str] = field(default_factory=list)
    leftovers: int = 0


class Process:
    """The work as a process, with a session of its own; its output goes to a file."""

    def __init__(self, arguments: list[str], log: Path, fresh: bool) -> None:
        self._code: int | None = None
        if fresh:
            script = [str(Path(__file__))] if arguments[0] == OWN else ["-m", arguments[0]]
            with log.open("wb") as sink:
                command = [sys.executable, *script, *arguments[1:]]
                self._started = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)
            self.pid = self._started.pid
        else:
            self.pid = os.fork()
            if self.pid == 0:
                _child(arguments, log)

    def wait(self, seconds: float = float("inf")) -> int | None:
        """The exit code, or None where it has not ended after so many seconds."""
        until = time.monotonic() + seconds
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                return None
            else:
                time.sleep(0.005)
        return self._code

    def kill(self, alone: bool) -> None:
        """SIGKILL, to it alone or to everything that it has started."""
        try:
            os.kill(self.pid, signal.SIGKILL) if alone else os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(self.pid, signal.SIGKILL)  # forked, and without its own session yet
        self.wait()


def _child(arguments: list[str], log: Path) -> None:
    """What a forked process does; it never comes back."""
    code = 70
    try:
        os.setsid()
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        if arguments[0] == OWN:
            _kill_work.own_work(arguments[1], *map(Path, arguments[2:]))
            code = 0
        else:
            from fuse_repro.cli import main as command

            code = command(arguments[1:])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Undisturbed once, then disturbed until there are kills enough."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200, help="in all")
    parser.add_argument("--only", action="append", help="only this kind of work")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
    with tempfile.TemporaryDirectory(prefix="kill_survival_") as name:
        folder = Path(name)
        _forked(lambda: _kill_work.prepare(folder))
        import fuse_repro.sweeps.preload  # noqa: F401

        chosen = [w for w in _kill_work.works(folder) if arguments.only is None or w.name in arguments.only]
        draw = random.Random(arguments.seed)
        begun, tallies = time.monotonic(), {}
        for number, work in enumerate(chosen):
            share = arguments.kills // len(chosen) + (number < arguments.kills % len(chosen))
            tallies[work.name] = disturb(work, folder / work.name, share, draw)
            print(work.name, tallies[work.name], flush=True)
        report("kill_survival", _figures(tallies) | {"seconds": time.monotonic() - begun})


def disturb(work: Work, folder: Path, kills: int, draw: random.Random) -> Tally:
    """Kill the work so often, and compare every piece that ends with the undisturbed one."""
    tally, takes = Tally(), {}
    found = []
    for fresh in (False, True):
        begun = time.monotonic()
        found.append(_finish(work, folder / f"undisturbed_{fresh}", fresh, tally))
        takes[fresh] = time.monotonic() - begun
    expected = found[0]
    if not expected:
        raise SystemExit(f"{work.name} does not work undisturbed: {tally.failed_starts}")
    if found[1] != expected:
        _compare(f"{work.name}, undisturbed", *found, tally)
    starts = 0
    while tally.kills < kills:
        piece = folder / f"piece_{tally.finished_pieces}"
        piece.mkdir(parents=True)
        for _ in range(min(draw.randint(1, MOST_KILLS), kills - tally.kills)):
            starts += 1
            fresh = starts % FRESH_EVERY == 0
            moment = draw.uniform(0, takes[fresh])
            process = Process(work.arguments(piece, fresh), piece / "log.txt", fresh)
            code = process.wait(moment)
            if code is None:
                process.kill(alone=fresh and draw.random() < 0.5)
                tally.kills += 1
                tally.kills_of_fresh_processes += fresh
                tally.kills_within_a_second += moment < 1
            elif code != 0:
                tally.failed_starts.append(_last_line(piece))
            else:
                break
        got = _finish(work, piece, starts % FRESH_EVERY == 0, tally)
        _compare(work.name, expected, got, tally)
        tally.leftovers += sum(1 for path in piece.rglob(".*") if not path.name.endswith(KEPT))
        tally.finished_pieces += 1
    return tally


def _finish(work: Work, piece: Path, fresh: bool, tally: Tally) -> dict[str, Any]:
    """The same command until it ends well; what it left, which is nothing where it never does."""
    piece.mkdir(parents=True, exist_ok=True)
    for _ in range(RERUNS):
        if Process(work.arguments(piece, fresh), piece / "log.txt", fresh).wait() == 0:
            return work.outcome(piece)
        tally.failed_starts.append(_last_line(piece))
        time.sleep(1)
    return {}


def _compare(name: str, expected: Mapping[str, Any], got: Mapping[str, Any], tally: Tally) -> None:
    for key in sorted(expected.keys() | got.keys()):
        if expected.get(key) != got.get(key):
            tally.unequal.append(f"{name}: {key}")
        if key.endswith("records.jsonl") and key in got:
            ids = [json.loads(line)["id"] for line in got[key].split(b"\n") if line]
            tally.records += len(ids)
            tally.records_there_twice += len(ids) - len(set(ids))


def _last_line(piece: Path) -> str:
    lines = (piece / "log.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no word"


def _forked(action: Any) -> None:
    """Do something in a process of its own, so that this one has no threads when it forks."""
    pid = os.fork()
    if pid == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        action()
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("the preparation failed")


def _figures(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    names = [name for name in Tally.__dataclass_fields__ if name not in LISTS]
    total = {name: sum(getattr(tally, name) for tally in tallies.values()) for name in names}
    said = {name: [line for t in tallies.values() for line in getattr(t, name)] for name in LISTS}
    return {**total, **said, "kinds": {name: vars(tally) for name, tally in tallies.items()}}


if __name__ == "__main__":
    if sys.argv[1:2] in (["weights"], ["adapters"]):
        _kill_work.own_work(sys.argv[1], *map(Path, sys.argv[2:]))
    else:
        main()
