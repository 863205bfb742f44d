"""What the runners of the user's own prompts check of their settings before anything is read or loaded."""

from omegaconf import DictConfig

from fuse_repro.data.prompt_task import SPLITS
from fuse_repro.errors import require
from fuse_repro.prompts.places import BOS
from fuse_repro.runners.shards import refuse_shards
from fuse_repro.runners.values import check_settings


def check_runner(config: DictConfig, settings: type) -> None:
    """Check the runner's values, its split and its models.

    Args:
        config: of the run.
        settings: annotated with what the runner's values are.

    Raises:
        UsageError: a value of another kind, an unknown split, model or place for BOS, or a shard.
    """
    runner = config.runner
    check_settings("runner", runner, settings)
    refuse_shards(config)
    require(runner.split in SPLITS, "runner.split", runner.split, f"one of {', '.join(SPLITS)}")
    known = f"roles in models: {', '.join(config.models)}"
    require(runner.target in config.models, "runner.target", runner.target, f"one of the {known}")
    if "bos" in runner:
        require(runner.bos in BOS, "runner.bos", runner.bos, f"one of {', '.join(BOS)}")
    if "sources" in runner:
        sources = list(runner.sources)
        good = bool(sources) and all(role in config.models for role in sources)
        require(good, "runner.sources", sources, f"at least one of the {known}")
