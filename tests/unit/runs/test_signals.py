"""Requests to stop are told from failures."""

import os
import signal

import pytest

from fuse_repro.runs.signals import Terminated, sigterm_raises, told_to_stop


def test_sigterm_is_an_exception_within_and_the_default_again_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert before is signal.SIG_DFL
    with pytest.raises(Terminated) as caught, sigterm_raises():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143
    assert told_to_stop(caught.value)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_warning_of_a_cluster_is_a_request_to_stop(number: signal.Signals) -> None:
    assert signal.getsignal(number) is signal.SIG_DFL
    with pytest.raises(Terminated) as caught, sigterm_raises():
        os.kill(os.getpid(), number)
    assert told_to_stop(caught.value)
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_handler_of_somebody_else_stays() -> None:
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with sigterm_raises():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_what_is_a_request_to_stop() -> None:
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    assert told_to_stop(KeyboardInterrupt())
    assert told_to_stop(SIGTERMException())
    assert not told_to_stop(SystemExit(1))
    assert not told_to_stop(RuntimeError())
    with pytest.raises(SystemExit) as caught:
        _lightning_on_ctrl_c()
    assert told_to_stop(caught.value)


def _lightning_on_ctrl_c() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise SystemExit(1)  # noqa: B904 - as Lightning does
