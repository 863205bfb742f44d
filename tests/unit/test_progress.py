"""Without a terminal every wait is told in one line a minute, and none faster."""

import io
import sys

import pytest
from rich.console import Console

from fuse_repro import progress
from fuse_repro.progress import Heart, amount, duration, rate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> list[str]:
    """What is said by a heart that beats when the test says so."""
    said: list[str] = []
    monkeypatch.setattr(progress, "HEART", Heart(said.append, clock, threaded=False))
    return said


def after(clock: Clock, seconds: float) -> None:
    clock.now += seconds
    progress.HEART.beat()


def test_one_line_a_minute_and_none_faster(lines: list[str], clock: Clock) -> None:
    with progress.bar("searching", 500) as advance:
        after(clock, 59.9)
        assert lines == []
        for _ in range(6):
            advance(1)
        after(clock, 0.1)
        assert lines == ["searching: 6 of 500, 6 a minute, about 1 h 22 min left"]
        for _ in range(100):  # however often it is asked
            after(clock, 0.5)
        assert len(lines) == 1
        after(clock, 10)
        assert lines[1:] == ["searching: 6 of 500, 3 a minute, about 2 h 45 min left"]
    after(clock, 600)
    assert len(lines) == 2, "nothing after its end"


def test_every_wait_has_its_own_line(lines: list[str], clock: Clock) -> None:
    with progress.bar("searching", 10) as advance:
        advance(3)
        after(clock, 30)
        with progress.bar("downloading a model"):
            after(clock, 30)
            assert lines == ["searching: 3 of 10, 3 a minute, about 2 min left"]
            after(clock, 30)
            assert lines[1:] == ["downloading a model: 1 min so far"]
    assert list(progress.track(range(3), "counting")) == [0, 1, 2]


def test_a_wait_that_fails_is_told_no_more(lines: list[str], clock: Clock) -> None:
    with pytest.raises(RuntimeError), progress.bar("fitting", 4):
        raise RuntimeError
    after(clock, 100)
    assert lines == []


def test_nothing_done_yet_and_bytes(lines: list[str], clock: Clock) -> None:
    with progress.bar("hashing", 5e9, unit="B") as advance:
        after(clock, 60)
        advance(1.5e9)
        after(clock, 60)
    assert lines == [
        "hashing: 0 of 5.0 GB, 1 min so far",
        "hashing: 1.5 GB of 5.0 GB, 12.5 MB a second, about 5 min left",
    ]


def test_the_thread_ends_where_nobody_reads(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    def closed(line: str) -> None:
        raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(progress, "TICK_S", 0.0)
    heart = Heart(closed, clock, every_s=0.0)
    heart.begin("searching", 1)
    assert heart._thread is not None
    heart._thread.join(30)
    assert not heart._thread.is_alive()


def test_on_a_terminal_there_are_bars_within_bars(
    lines: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = io.StringIO()
    monkeypatch.setattr(progress, "PATIENCE_S", -1.0)
    monkeypatch.setattr(
        progress, "Console", lambda file: Console(file=target, force_terminal=True, width=120)
    )
    with progress.bar("searching", 3) as outer, progress.bar("searching for a.png") as inner:
        outer(1)
        inner(1)
        after(clock, 100)
    assert lines == []
    assert "searching for a.png" in target.getvalue()


def test_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    heart = Heart(clock=clock, threaded=False)
    heart.begin("searching\x1b[2J", 2)
    clock.now = 60
    heart.beat()
    assert not sys.stderr.isatty()
    assert capsys.readouterr().err == "fuse-repro: searching\\x1b[2J: 0 of 2, 1 min so far\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.4, "59 s"), (61, "1 min"), (3599, "1 h"), (3900, "1 h 5 min"), (183600, "2 d 3 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_rates_and_amounts() -> None:
    assert rate(3.21) == "3.2 a second"
    assert rate(0.1) == "6 a minute"
    assert rate(0.0005) == "1.8 an hour"
    assert rate(0.5e6, "B") == "0.5 MB a second"
    assert amount(12345) == "12,345"
    assert amount(2.0) == "2"
