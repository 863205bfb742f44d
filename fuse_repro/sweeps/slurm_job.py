"""What runs on the node: one point, requeued by submitit at its time limit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuse_repro.runs.signals import ask_to_stop, told_to_stop
from fuse_repro.runs.state import wanted
from fuse_repro.sweeps.worker import run_point


class SlurmJob:
    """A point as a job; submitit keeps it in a file and calls it on the node, again after every requeue."""

    def __init__(self, config: Mapping[str, Any], directory: Path, resume: str) -> None:
        self.config, self.directory, self.resume = config, directory, resume
        self.requeued = False

    def __call__(self) -> bool:
        """Run the point; true if it is done.

        Its status.json says how it ended, unless it was asked to stop.
        """
        # what `resume=all` has begun anew it must not begin anew at every requeue
        resume = "retry_failed" if self.requeued else self.resume
        if not wanted(self.directory, resume):
            return True
        try:
            return run_point({**self.config, "resume": resume}, self.directory)
        except BaseException as error:
            if told_to_stop(error):
                raise
            return False

    def checkpoint(self) -> Any:
        """Called by submitit when the time limit is near; the records are on disk already."""
        import submitit

        ask_to_stop()
        again = SlurmJob(self.config, self.directory, self.resume)
        again.requeued = True
        return submitit.helpers.DelayedSubmission(again)
