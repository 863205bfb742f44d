"""What a run of prompt transfer computes, counted from its config alone."""

from collections.abc import Iterator, Sequence

from omegaconf import DictConfig, OmegaConf

from fuse_repro.runners.costs import data_sizes as sizes
from fuse_repro.runners.costs.data_sizes import DataSize
from fuse_repro.runners.costs.work import AND_BACK, Counted, Work

TEMPLATE_TOKENS = 5  # of a written template, about, where optimizer.position=template


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
        tokens = task.tokens + (tuning.m or TEMPLATE_TOKENS)
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


def tuning_work(config: DictConfig) -> Counted:
    """Prompts tuned for one model, and what is asked with them and with the written templates."""
    data = sizes.tasks(config.dataset)
    optimizer, role = config.optimizer, config.runner.target
    works = []
    for task in data.tasks:
        tokens = task.tokens + (optimizer.m or TEMPLATE_TOKENS)
        passes = task.tasks * optimizer.max_steps
        works.append(Work(role, "tuning", passes * optimizer.batch_size, tokens, AND_BACK))
        works.append(Work(role, "looks at dev", passes * task.dev / optimizer.evaluate_every, tokens))
        works.append(Work(role, "test items", 2 * task.tasks * task.test, tokens))
    return data, works


def evaluation_work(config: DictConfig) -> Counted:
    """What is asked with every prompt that the command gives."""
    data, runner = sizes.tasks(config.dataset), config.runner
    prompts = (config.prompt is not None) + (config.text is not None) + bool(runner.template)
    return data, list(_asked([runner.target], data, prompts))


def move_work(config: DictConfig) -> Counted:
    """What is asked before and after a move, where there are data; the map itself needs no forward pass."""
    runner = config.runner
    if OmegaConf.select(config, "dataset._target_") is None:
        return DataSize("no data"), [Work(role, "none", 0, 1) for role in (*runner.sources, runner.target)]
    data = sizes.tasks(config.dataset)
    return data, list(_asked([runner.sources[0], runner.target], data, 1))


def _asked(roles: Sequence[str], data: DataSize, prompts: int) -> Iterator[Work]:
    """The test items of every task, asked of these models."""
    for role in roles:
        for task in data.tasks:
            yield Work(role, "test items", prompts * task.tasks * task.test, task.tokens)


def _searched(config: DictConfig) -> list[DictConfig]:
    """The methods that search step by step."""
    return [node for node in config.methods.values() if node.get("solver") == "adam"]
