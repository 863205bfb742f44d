"""What a run computes, counted from its config alone: forward passes of every model and their tokens."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from fuse_repro.runners.assemble import part_values
from fuse_repro.runners.costs.answers import answers_table_work, answers_work
from fuse_repro.runners.costs.known_truth import known_truth_work
from fuse_repro.runners.costs.search import caption_work, fidelity_work, inversion_work
from fuse_repro.runners.costs.transfer import evaluation_work, move_work, transfer_work, tuning_work
from fuse_repro.runners.costs.work import Counted


def work_of(config: DictConfig) -> Counted | None:
    """The data and the work of a run, at the most: searches and tunings that stop early do less.

    None for a runner that is not known here.
    """
    counters: Mapping[str, Callable[[DictConfig], Counted]] = {
        "fuse_repro.runners.fidelity.runner.run": fidelity_work,
        "fuse_repro.runners.answers_table.run": answers_table_work,
        "fuse_repro.runners.known_truth.runner.run": known_truth_work,
        "fuse_repro.runners.search.answers.run": answers_work,
        "fuse_repro.runners.search.caption.run": caption_work,
        "fuse_repro.runners.search.sentiment.run": caption_work,
        "fuse_repro.runners.search.inversion.run": inversion_work,
        "fuse_repro.runners.maps_table.run": _both_tasks,
        "fuse_repro.runners.transfer.evaluate.run": evaluation_work,
        "fuse_repro.runners.transfer.move.run": move_work,
        "fuse_repro.runners.transfer.runner.run": transfer_work,
        "fuse_repro.runners.transfer.tune.run": tuning_work,
    }
    count = counters.get(config.runner._target_)
    return None if count is None else count(config)


def _both_tasks(config: DictConfig) -> Counted:
    """Captions by every map, and one transfer of them all."""
    photographs, captions = caption_work(_part(config, "captions"))
    tasks, transfers = transfer_work(_part(config, "transfer"))
    data = replace(tasks, origin=f"{photographs.origin}; {tasks.origin}", items=photographs.items)
    repeated = [replace(work, passes=work.passes * len(config.methods)) for work in captions]
    return data, [*repeated, *transfers]


def _part(config: DictConfig, name: str) -> DictConfig:
    """The config that a part of the run is given."""
    return OmegaConf.create(part_values(config, name))
