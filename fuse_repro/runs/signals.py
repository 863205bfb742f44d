"""Being told to stop: Ctrl-C, SIGTERM and a cluster's warning, told apart from a run that fails."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
_asked = threading.Event()


# SIGTERM, and what clusters send as a warning before a job's time is over (sbatch --signal=USR1@120).
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Terminated(SystemExit):
    """SIGTERM or a cluster's warning, raised where the program stands."""

    def __init__(self) -> None:
        super().__init__(EXIT_TERMINATED)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within, SIGTERM and a cluster's warnings raise Terminated in the main thread.

    A handler that somebody else installed stays, as submitit's that requeues a job.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in STOPPING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def ask_to_stop() -> None:
    """Say that the SystemExit about to be raised is a request to stop, as a cluster's time limit is."""
    _asked.set()


def told_to_stop(error: BaseException) -> bool:
    """Whether `error` is a request to stop rather than a failure.

    Lightning turns Ctrl-C and SIGTERM inside its loops into a SystemExit of its own.
    """
    if isinstance(error, KeyboardInterrupt | Terminated):
        return True
    if not isinstance(error, SystemExit):
        return False
    return (
        _asked.is_set()
        or type(error).__name__ == "SIGTERMException"
        or isinstance(error.__context__, KeyboardInterrupt)
    )


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
