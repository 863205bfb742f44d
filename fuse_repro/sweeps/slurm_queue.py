"""What Slurm says about jobs: squeue of those that live, scontrol or sacct (accounting) of ended ones."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from fuse_repro.errors import UsageError
from fuse_repro.runs.files import read_json, write_text
from fuse_repro.runs.provenance import strict_json
from fuse_repro.runs.sweep_file import locked
from fuse_repro.sweeps.sweep import Point

JOBS = "slurm_jobs.json"
PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "RESV_DEL_HOLD", "SPECIAL_EXIT")
TIMEOUT_S = 60


def need_slurm() -> None:
    """Refuse to go on without Slurm's commands.

    Raises:
        UsageError: if they are not installed.
    """
    missing = [name for name in ("sbatch", "srun", "squeue", "scontrol") if shutil.which(name) is None]
    if missing:
        raise UsageError(
            f"hydra/launcher=slurm needs Slurm, and {', '.join(missing)} is not on this machine: run it on a login "
            "node, or use hydra/launcher=local"
        )


def largest_array() -> int | None:
    """How many jobs the cluster takes in one array; None where it does not say."""
    shown = _call("scontrol", "show", "config").stdout
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", shown, re.MULTILINE)
    return int(found[1]) if found else None


def read_jobs(sweep_directory: Path) -> dict[str, str]:
    """Point id -> the job that was last submitted for it."""
    path = sweep_directory / JOBS
    return {key: str(job) for key, job in read_json(path).items()} if path.exists() else {}


def note_jobs(sweep_directory: Path, jobs: Mapping[str, str]) -> None:
    """Add these to what `read_jobs` gives."""
    with locked(sweep_directory):
        text = strict_json(read_jobs(sweep_directory) | dict(jobs), indent=2)
        write_text(sweep_directory / JOBS, text + "\n")


def living(jobs: Iterable[str]) -> dict[str, str] | None:
    """Job -> its state, of those that wait, run or end; None where Slurm does not answer now.

    Jobs are named as submitit does: "12", or "12_3" in an array.
    """
    asked = set(jobs)
    mains = sorted({job.partition("_")[0] for job in asked})
    if not mains:
        return {}
    done = _call("squeue", "--noheader", "--array", "--jobs", ",".join(mains), "--format", "%i|%F|%K|%T")
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    states = {}
    for line in done.stdout.splitlines():
        name, main, index, state = line.split("|")
        job = f"{main}_{index}" if index not in ("N/A", "") else name
        states[job] = state
    return {job: state for job, state in states.items() if job in asked}


def living_points(sweep_directory: Path, points: Iterable[Point]) -> dict[str, str]:
    """Point id -> state of its job, of those that have a living one; empty where there is no Slurm."""
    jobs = read_jobs(sweep_directory)
    ours = {point.id: jobs[point.id] for point in points if point.id in jobs}
    if not ours or shutil.which("squeue") is None:
        return {}
    states = living(ours.values())
    if states is None:
        raise UsageError("Slurm does not answer (squeue failed): try again when its controller is back")
    return {key: states[job] for key, job in ours.items() if job in states}


def cause_of_death(job: str) -> str:
    """The state in which Slurm says that a job ended, such as TIMEOUT.

    It is read from accounting if scontrol has forgotten the job.
    """
    shown = _call("scontrol", "--oneliner", "show", "job", job).stdout
    found, code = re.search(r"JobState=(\w+)", shown), re.search(r" ExitCode=([\d:]+)", shown)
    if found:
        return f"{found[1]} (exit code {code[1]})" if code else found[1]
    listed = _call("sacct", "--jobs", job, "--allocations", "--noheader", "--parsable2", "--format", "State")
    state = listed.stdout.strip().partition("\n")[0]
    return state or "no longer known"


def cancel_hint(jobs: Iterable[str]) -> str:
    """The command that ends these jobs."""
    return "scancel " + " ".join(sorted({job.partition("_")[0] for job in jobs}))


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
