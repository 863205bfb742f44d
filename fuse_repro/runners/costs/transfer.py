"""What a run of prompt transfer computes, counted from its config alone."""

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from fuse_repro.runners.costs import data_sizes as sizes
from fuse_repro.runners.costs.data_sizes import DataSize
from fuse_repro.runners.costs.work import AND_BACK, Counted, Work


def transfer_work(config: DictConfig) -> Counted:
    """Prompts tuned on every model that needs one, moved, and evaluated."""
    data = sizes.tasks(config.dataset)
    return data, list(_cells(config, data))


def _cells(config: DictConfig, data: DataSize) -> Iterator[Work]:
    runner, tuning = config.runner, config.optimizer
    tuned = [runner.target] if "direct_tuning" in runner.baselines else []
    if config.methods:
        tuned += runner.sources
    elif "source_tuned" in runner.baselines:
        tuned.append(runner.sources[0])
    prompts = (len(config.methods) + len(runner.baselines)) * len(runner.seeds)
    looks = sum(node.steps / node.check_every for node in _searched(config)) * len(runner.seeds)
    settings = OmegaConf.to_container(tuning, resolve=True)
    for task in data.tasks:
        tokens = task.tokens + tuning.m
        for seed in runner.seeds:
            for role in dict.fromkeys(tuned):
                key = f"{config.models[role].name}/{task.name}/{seed}/{settings}"
                passes = task.tasks * tuning.max_steps * tuning.batch_size
                yield Work(role, "tuning", passes, tokens, AND_BACK, f"tuning/{key}")
                dev = task.tasks * task.dev * tuning.max_steps / tuning.evaluate_every
                yield Work(role, "looks at dev", dev, tokens, shared=f"looks/{key}")
        yield Work(runner.target, "test items", prompts * task.tasks * task.test, tokens)
        if runner.trace_accuracy:
            yield Work(runner.target, "dev along the search", looks * task.tasks * task.dev, tokens)


def _searched(config: DictConfig) -> list[DictConfig]:
    """The methods that search step by step."""
    return [node for node in config.methods.values() if node.get("solver") == "adam"]
