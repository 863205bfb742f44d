"""Types of the values that every run has, so that a wrong one is an error before anything is loaded."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore


@dataclass
class Root:
    """name: of the experiment; part of the run directory's path.
    seed: of every random choice.
    output_dir: the run directory; output_root: where run directories go.
    cache_dir: downloaded weights and fitted adapters; null is FUSE_REPRO_CACHE or ~/.cache/fuse_repro.
    dtype: precision of the frozen models: float32, bfloat16 or float16.
    """

    name: str = "run"
    seed: int = 0
    output_root: str = "outputs"
    output_dir: str = "${output_root}/${name}/${now:%Y-%m-%d_%H-%M-%S}"
    cache_dir: str | None = None
    dtype: str = "float32"
    models: dict[str, Any] = field(default_factory=dict)
    dataset: Any = None
    corpus: Any = None
    adapter: Any = None
    objective: Any = None
    optimizer: Any = None
    runner: Any = None
    trainer: Any = None


def register() -> None:
    """Make the schema known to Hydra."""
    ConfigStore.instance().store(name="schema", node=Root)
