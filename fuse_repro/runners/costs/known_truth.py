"""What a run against known truth computes: fits of maps, and no pass of a model."""

from omegaconf import DictConfig

from fuse_repro.runners.costs.data_sizes import DataSize
from fuse_repro.runners.costs.work import Counted
from fuse_repro.runners.known_truth.points import make_plan


def known_truth_work(config: DictConfig) -> Counted:
    """The pairs of models, which are tables of embeddings alone."""
    pairs, maps = len(make_plan(config.runner).places()), len(config.methods)
    return DataSize(
        f"{pairs:,} made-up pairs of models, {maps} maps on each; about a second of one core a pair"
    ), []
