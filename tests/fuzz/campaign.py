"""Many inputs for one reader: as many as there is time for, every kind of failure once, made small."""

import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from .attempt import Reader, attempt, signature
from .inputs import attacks

BATCH = 100
SHRINKING_S = 6.0
FIRST_S = 300


class Found(Exception):
    """Tells hypothesis that an input fails, so that it makes it smaller."""


@dataclass
class Find:
    """A kind of failure, and its smallest input so far."""

    signature: str
    name: str
    content: bytes
    trace: str
    count: int = 1


@dataclass
class Outcome:
    """What came of a reader's inputs."""

    inputs: int = 0
    finds: dict[str, Find] = field(default_factory=dict)


@contextmanager
def sandbox(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder inside an empty folder, so that `..` is nobody's."""
    outer = Path(tempfile.mkdtemp(prefix="fuzz_", dir=parent))
    try:
        (outer / "inner").mkdir()
        yield outer / "inner"
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def warm_up() -> None:
    """Have hypothesis do what it does once in a process, which takes seconds."""
    settings(max_examples=1, database=None)(given(attacks({"a": b"a"}, ("a",)))(lambda attack: None))()


def campaign(
    reader: Reader, *, seconds: float = 1e9, inputs: int = 10**9, seed: int = 0, parent: Path | None = None
) -> Outcome:
    """Try inputs until time or their number is used up.

    Args:
        reader: what to try.
        seconds: how long; shrinking a failure may take a while longer.
        inputs: how many.
        seed: of the first hundred; the next hundred have the next.
        parent: where the reader's folder is made; anywhere if None.
    """
    outcome = Outcome()
    until = time.monotonic() + seconds
    with sandbox(parent) as folder:
        attempt(reader, "", b"", folder, FIRST_S)  # the valid files: what is imported late is imported now
        while outcome.inputs < inputs and time.monotonic() < until:
            _batch(reader, folder, outcome, min(BATCH, inputs - outcome.inputs), seed, until)
            seed += 1
    return outcome


def _batch(reader: Reader, folder: Path, outcome: Outcome, count: int, seed: int, until: float) -> None:
    known = set(outcome.finds)
    target: list[str] = []
    shrinking = [float("inf")]

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
        report_multiple_bugs=False,
    )
    @given(attacks(reader.files, reader.targets))
    def once(attack: tuple[str, bytes]) -> None:
        now = time.monotonic()
        if now > (shrinking[0] if target else until):
            return
        outcome.inputs += 1
        for leftover in folder.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        try:
            attempt(reader, *attack, folder)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            kind = _note(outcome, error, attack)
            if not target and kind not in known:
                target.append(kind)
                shrinking[0] = now + SHRINKING_S
            if target == [kind]:
                raise Found(kind) from None

    with suppress(Found, hypothesis.errors.HypothesisException, BaseExceptionGroup):  # noted already
        once()


def _note(outcome: Outcome, error: BaseException, attack: tuple[str, bytes]) -> str:
    kind = signature(error)
    trace = "".join(traceback.format_exception(error, limit=-12))[-8_000:]
    find = outcome.finds.setdefault(kind, Find(kind, *attack, trace, 0))
    find.count += 1
    if len(attack[1]) < len(find.content):
        find.name, find.content, find.trace = *attack, trace
    return kind
