"""What the benchmarks share: the default models, timing, and the machine's name."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from fuse_repro import schema
from fuse_repro.runners.build import build
from fuse_repro.runs.provenance import machine

RESULTS = Path(__file__).parent / "results"


def config(*overrides: str) -> Any:
    """A composed config, as the command would run it."""
    schema.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(schema.config_folder())):
        return compose("config", overrides=list(overrides))


def load(*roles: str, overrides: tuple[str, ...] = ("experiment=demo",)) -> list[Any]:
    """The models of these roles."""
    composed = config(*overrides)
    return [build(composed.models[role]) for role in roles]


def seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    """Median wall time of a call, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def report(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and keep them in benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    about = machine()
    figures = {"machine": {key: about[key] for key in ("cpu", "cores", "torch_threads")}, **figures}
    text = json.dumps(figures, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
    print(f"torch {torch.__version__}")
