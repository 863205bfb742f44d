"""A run that takes as long as it is told, records random numbers of its seed, and fails in every way on request."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from fuse_repro.errors import UsageError
from fuse_repro.runs.directory import RunDirectory


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """One record per item; the fault strikes at item `at`, with `once` only the first time."""
    settings = config.runner
    directory.open(device="cpu", weights={})
    known = directory.known()
    for number in range(settings.count):
        if f"item{number}" in known:
            continue
        time.sleep(settings.seconds)
        record: dict[str, Any] = {
            "id": f"item{number}",
            "status": "done",
            "task": f"item{number}",
            "label": "drill",
        }
        record |= {"method": "drill", "seed": config.seed, "model": "none", "items": 1, "candidates": 2}
        if number == settings.at and _strikes(directory.path, settings.once):
            record |= _strike(settings.fault)
        generator = torch.Generator().manual_seed(config.seed * 1000 + number)
        record["value"] = float(torch.randn((), generator=generator)) * settings.scale
        record |= {"accuracy": abs(record["value"]) % 1, "loss": abs(record["value"]), "dropped": {}}
        record["padding"] = "x" * settings.padding
        directory.append(record)
    values = [record["value"] for record in directory.records()]
    return {"runner": "drill", "mean": sum(values) / len(values), "environment": _environment()}


def _strikes(path: Path, once: bool) -> bool:
    mark = path.parent / f".{path.name}.struck"
    if once and mark.exists():
        return False
    mark.touch()
    return True


def _strike(fault: str) -> dict[str, Any]:
    match fault:
        case "exception":
            raise RuntimeError("the drill's exception")
        case "usage":
            raise UsageError("the drill's mistake")
        case "exit":
            sys.exit("the drill's exit")
        case "quiet_exit":
            os._exit(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "memory":
            _exhaust()
        case "time_limit":  # what Slurm sends before the end of a job's time
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(60)
        case "scancel":
            subprocess.run(["scancel", _job()], check=True)
            time.sleep(60)
        case "requeue":
            subprocess.run(["scontrol", "requeue", _job()], check=True)
            time.sleep(60)
        case "item":
            return {"status": "failed", "error": "the drill's item"}
    return {}


def _job() -> str:
    return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"


def _exhaust() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.getrlimit(resource.RLIMIT_AS)[1]))
    bytearray(1 << 33)


def _environment() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "threads": torch.get_num_threads(),
    }
