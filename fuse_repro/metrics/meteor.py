"""METEOR 1.5, the Java program inside pycocoevalcap, as a process that stays for later questions."""

import atexit
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# Java's own defaults follow the locale: another charset, or a decimal comma that METEOR cannot read back.
JAVA = ("java", "-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")
OPTIONS = ("-l", "en", "-norm")


class Meteor:
    """A METEOR process, which answers one line with one line. It ends when its standard input does.

    Raises:
        OSError: Java cannot be started.
    """

    def __init__(self) -> None:
        from pycocoevalcap.meteor import meteor

        jar = Path(meteor.__file__).parent / meteor.METEOR_JAR
        command = [*JAVA, "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", *OPTIONS]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, encoding="utf-8"
        )
        self.owner = os.getpid()

    @property
    def alive(self) -> bool:
        """Whether it can be asked by this process; a fork must not share its lines."""
        return self.owner == os.getpid() and self._process.poll() is None

    def score(self, wanted: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[str]]) -> float:
        """The corpus-level score, from 0 to 1: statistics of every item, then one evaluation over all of them.

        Args:
            wanted: item -> tokenised references.
            found: item -> one tokenised caption.

        Raises:
            OSError: the process has ended.
            ValueError: what it said is no number.
        """
        statistics = [self._ask("SCORE", *wanted[name], *found[name]) for name in found]
        return float([self._ask("EVAL", *statistics), *(self._line() for _ in found)][-1])

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, *fields: str) -> str:
        print(" ||| ".join(fields), file=self._process.stdin, flush=True)
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


_running: list[Meteor] = []


def meteor(wanted: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[str]]) -> float:
    """As `Meteor.score`, by a process that is started once: reading its tables takes it ten seconds.

    Raises:
        OSError: Java cannot be started, or has ended.
        ValueError: what it said is no number.
    """
    if not (_running and _running[-1].alive):
        _running[:] = [Meteor()]
    try:
        return _running[-1].score(wanted, found)
    except BaseException:  # also Ctrl-C: an answer may still be under way
        _stop()
        raise


@atexit.register
def _stop() -> None:
    """End the process that this one started."""
    for process in _running:
        if process.owner == os.getpid():
            process.stop()
    _running.clear()
