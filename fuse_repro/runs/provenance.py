"""Where a result comes from: seeds, the hash of a config, library versions, git commit, machine."""

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro import __version__
from fuse_repro.errors import UsageError, require

UNHASHED_KEYS = (
    "output_dir",
    "output_root",
    "sweep_dir",
    "resume",
    "hydra",
    "logger",
    "paper_cell",
    "dry_run",
    "dry_run_tflops",
    "weights",  # how they are verified, not what they are
)
UNHASHED_ANYWHERE = ("cache_dir", "sidecar")
# Came later, and this value is what there was before: earlier directories go on.
UNHASHED_AS: Mapping[str, Any] = {
    "max_flops": None,
    "max_seconds": None,
    "refinement": None,
    "constraints": {
        "_target_": "fuse_repro.search.Constraints",
        "printable_ascii": False,
        "allowed": None,
        "forbidden": [],
        "whole_words": False,
        "repeats": True,
    },
    "starts": 1,
    "probe": None,
    "probe_filter": 8,
    "draft_examples": 2,
    "draft_models": None,
    "screen": None,
    "matmul": "highest",
    "recursive": False,
    "answers": "one",
    "target": None,
    "also": [],
}
DISTRIBUTIONS = {
    "torch": "torch",
    "transformers": "transformers",
    "tokenizers": "tokenizers",
    "lightning": "pytorch-lightning",
    "hydra": "hydra-core",
    "omegaconf": "omegaconf",
    "torchmetrics": "torchmetrics",
    "safetensors": "safetensors",
    "numpy": "numpy",
}


def seed_everything(seed: int | None) -> None:
    """Seed Python's, numpy's and torch's global generators; None leaves them alone.

    Raises:
        UsageError: if `seed` is not an integer in [0, 2**32).
    """
    if seed is None:
        return
    check_seed("seed", seed)
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)  # noqa: NPY002 - third-party code draws from the global generator
    torch.manual_seed(seed)


def check_seed(key: str, seed: object) -> None:
    """Raise UsageError unless this is a seed that every generator takes."""
    whole = isinstance(seed, int) and not isinstance(seed, bool)
    require(whole and 0 <= int(str(seed)) < 2**32, key, seed, "a whole number from 0 to 4294967295")


def plain(value: Any) -> Any:
    """Copy `value` out of JSON's own types only.

    Mappings become dicts with string keys, sequences lists, paths text, arrays and tensors numbers.

    Raises:
        UsageError: for a value JSON cannot hold.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise UsageError(
        f"a {type(value).__name__} cannot be written as JSON; give text, numbers, lists or mappings"
    )


def strict_json(value: Any, indent: int | None = None) -> str:
    """`value` as ASCII JSON that every parser reads: NaN and infinities become null."""
    return json.dumps(_finite(plain(value)), allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def config_hash(config: Mapping) -> str:
    """sha256 (hex) of the canonical JSON of a resolved config, leaving out what does not change results.

    Left out are the top-level keys of UNHASHED_KEYS, those of UNHASHED_ANYWHERE wherever they stand, and those of
    UNHASHED_AS with the value there; the order of keys does not matter.
    """
    hashed = {key: value for key, value in config.items() if key not in UNHASHED_KEYS}
    text = json.dumps(_without_caches(plain(hashed)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _without_caches(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_caches(item) for key, item in value.items() if not _unhashed(key, item)}
    if isinstance(value, list):
        return [_without_caches(item) for item in value]
    return value


def _unhashed(key: str, value: Any) -> bool:
    return key in UNHASHED_ANYWHERE or (key in UNHASHED_AS and value == UNHASHED_AS[key])


def library_versions() -> dict[str, str | None]:
    """Versions of Python, of the libraries that shape results, and of this package; None if absent."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name, distribution in DISTRIBUTIONS.items():
        try:
            versions[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions | {"fuse_repro": __version__}


def git_commit() -> str | None:
    """Commit of the source tree this package is imported from, with "-dirty" where it was edited.

    None where the package does not lie in a checkout that tracks it (a wheel installed below some other
    project's checkout is not that project's code).
    """
    package = Path(__file__).parents[1]
    if _git(package, "ls-files", "--error-unmatch", __file__) is None:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(package, "status", "--porcelain", "--", ".", "../conf")
    return commit if changes == "" else f"{commit}-dirty"


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine(device: str = "cpu") -> dict[str, Any]:
    """Platform, processor, number of cores this process may use, torch threads, and the name of `device`."""
    import torch

    cpu = _cpu_model()
    on_gpu = device.startswith("cuda") and torch.cuda.is_available()
    return {
        "platform": platform.platform(),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if on_gpu else cpu,
    }


def _cpu_model() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
