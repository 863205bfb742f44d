"""Where the configs are, and the types of the values that every run has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuse_repro.dtypes import for_memory
from fuse_repro.runners.roles import roles


@dataclass
class Weights:
    """How weights are read.

    Attributes:
        verify: when cached files are hashed and compared with what was recorded when they were made: always (on the
            first use in every run), changed (after a change of size, inode or modification time) or never.
    """

    verify: str = "changed"


@dataclass
class Root:
    """The values that every run has, with their types.

    Attributes:
        name: of the experiment; part of the run directory's path.
        seed: of every random choice.
        output_root: where run directories go.
        output_dir: the run directory.
        sweep_dir: the directory of a sweep; {id} stands for a hash of its base config and its grid.
        resume: what to do with what an earlier start left: retry_failed tries failed runs and items again,
            skip_done leaves them, all computes everything anew.
        cache_dir: downloaded weights and fitted adapters; null is FUSE_REPRO_CACHE or ~/.cache/fuse_repro.
        weights: when cached weights are verified; see Weights.
        dtype: precision of the frozen models: float32, bfloat16 or float16. The config of a large model may turn
            float32 into bfloat16 on a machine with little memory.
        models_dir: a folder that holds a folder of weights for every model, by its name; null reads each
            model from where its config says.
        dry_run: say what the run would cost, and run nothing.
        dry_run_tflops: what the device is taken to compute, in 10^12 operations per second; null is what
            `fuse-repro calibrate` measured of it, or 10 where it was not measured.
        models: the models by role.
        dataset: what the run reads. Every data set may be cut into `shards` parts, of which the run works on the one of
            number `shard`, from 0 on; see fuse_repro/data/shards.py.
        corpus: the words that maps are fitted on.
        adapter: the map between models.
        methods: the maps that a run compares, by name.
        objective: the terms of the loss and their weights.
        optimizer: the search, or how soft prompts are tuned.
        prompt: a folder with a soft prompt in PEFT's format; a list of them where several models are the source.
        text: a written prompt, with [X] for the text and [Y] for the answer.
        target: a text that models shall say; experiment=answers then looks for a prompt for it, and reads no data set.
        output: the folder that a soft prompt is written to, in PEFT's format; null is inside the run directory.
        runner: the kind of run, with its settings.
        trainer: Lightning's Trainer.
        logger: what a run shows beside its records.
        paper_cell: the paper's result that this run reproduces, as named in fuse_repro/data/paper_values.py.
    """

    name: str = "run"
    seed: int = 0
    output_root: str = "outputs"
    output_dir: str = "${output_root}/${name}/${now:%Y-%m-%d_%H-%M-%S}"
    sweep_dir: str = "${output_root}/${name}/sweep_{id}"
    resume: str = "retry_failed"
    cache_dir: str | None = None
    weights: Weights = field(default_factory=Weights)
    dtype: str = "float32"
    models_dir: str | None = None
    dry_run: bool = False
    dry_run_tflops: float | None = None
    models: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=lambda: {"shards": 1, "shard": 0})
    corpus: Any = None
    adapter: Any = None
    methods: dict[str, Any] = field(default_factory=dict)
    objective: Any = None
    optimizer: Any = None
    prompt: Any = None
    text: str | None = None
    target: str | None = None
    output: str | None = None
    runner: Any = None
    trainer: Any = None
    logger: Any = None
    paper_cell: str | None = None


def register() -> None:
    """Make the schema known to Hydra: a value of a wrong type is then an error before anything is loaded."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Root)
    register_resolvers()


def register_resolvers() -> None:
    """Make known what packaged configs compute, such as `${dtype_for_memory:...}`."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("paper_cell", _paper_cell, replace=True)
    OmegaConf.register_new_resolver("roles", _roles, replace=True)
    OmegaConf.register_new_resolver("shard_count", _shard_count, replace=True)
    OmegaConf.register_new_resolver("dtype_for_memory", for_memory, replace=True)


def _paper_cell(sources: Sequence[str], target: str, task: str | None = None) -> str | None:
    """`${paper_cell:SOURCES,TARGET,TASK}`: the cell of a prompt transfer; None if the paper has none."""
    from fuse_repro.data.paper_values import CELLS

    name = "/".join(["transfer", *([task] if task else []), "+".join(sources), target])
    return name if name in CELLS else None


def _roles(kind: str, models: Mapping[str, object]) -> object:
    """`${roles:searched,${models}}` or `${roles:unseen,${models}}`; see fuse_repro.runners.roles."""
    from omegaconf import OmegaConf

    return OmegaConf.create(roles(kind, models))


def _shard_count(shards: object) -> object:
    """`${shard_count:N}`: N, if it is a number of shards that can be swept over. Raises UsageError otherwise."""
    from fuse_repro.errors import require

    several = isinstance(shards, int) and not isinstance(shards, bool) and shards >= 2
    require(
        several, "dataset.shards", shards, "one whole number from 2 on with sweep=shards, as dataset.shards=8"
    )
    return shards


def config_folder() -> Path:
    """Where the packaged configs are: inside an installed wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())
