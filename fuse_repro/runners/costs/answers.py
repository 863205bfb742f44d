"""What a search for prompts of answers computes, counted from its config alone."""

from collections.abc import Iterator
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from fuse_repro.runners.answers_table import search_values, transfer_values
from fuse_repro.runners.costs import data_sizes as sizes
from fuse_repro.runners.costs.data_sizes import SPECIAL, TOKENS_PER_WORD, DataSize, TaskSize
from fuse_repro.runners.costs.search import search_of
from fuse_repro.runners.costs.transfer import transfer_work
from fuse_repro.runners.costs.work import AND_BACK, Counted, Work
from fuse_repro.runners.objective import expanded_terms


def answers_work(config: DictConfig) -> Counted:
    """A search per task or fixed text, the finalists on the development split, and the split that is reported.

    What stands before a prompt counts as read with every prompt; the search reads it once, and so does less.
    """
    if config.target is not None:
        words = TOKENS_PER_WORD * len(config.target.split()) + SPECIAL
        return DataSize("one text", items=1), list(_search(config, TaskSize("target", 1, 0, 0, words), 1))
    data = sizes.tasks(config.dataset)
    examples = config.runner.examples or config.runner.dev_items or 1
    works = [work for task in data.tasks for work in _search(config, task, examples)]
    return data, works + [work for task in data.tasks for work in _asked(config, task)]


def answers_table_work(config: DictConfig) -> Counted:
    """A search for every row and seed, and the soft prompts of the first model on every model."""
    runner = config.runner
    data, works = DataSize("no rows"), []
    for row in runner.rows.values():
        values, names = search_values(config, row, runner.seeds[0])
        data, own = answers_work(OmegaConf.create(values))
        works += [replace(one, role=names[one.role], passes=one.passes * len(runner.seeds)) for one in own]
    if runner.soft:
        for target in config.models:
            _, own = transfer_work(OmegaConf.create(transfer_values(config, str(target))))
            works += own
    return data, works


def _search(config: DictConfig, task: TaskSize, examples: int) -> Iterator[Work]:
    search = search_of(config.optimizer)
    tokens = task.tokens + search.tokens
    yield Work("lm", "next tokens", task.tasks * search.lm_tokens, 1)
    for term in expanded_terms(config.objective).values():
        if "AnswerTerm" in term._target_ and term.weight > 0:
            role = str(term.model)
            if role in (config.runner.judges or [role]):
                yield Work(role, "candidates", task.tasks * search.evaluations * examples, tokens)
            if role in (config.runner.guides or [role]):
                yield Work(role, "gradients", task.tasks * search.gradients * examples, tokens, AND_BACK)
            if search.drafted and role in (config.runner.draft_models or [role]):
                few = min(examples, config.runner.draft_examples or examples)
                yield Work(role, "drafts", task.tasks * search.drafted * few, tokens)


def _asked(config: DictConfig, task: TaskSize) -> Iterator[Work]:
    runner = config.runner
    dev = task.dev if runner.dev_items is None else min(task.dev, runner.dev_items)
    asked = task.test if runner.split == "test" else task.dev
    tokens = task.tokens + search_of(config.optimizer).tokens
    prompts = 1 + len(runner.baselines)
    for role in config.models:
        if role not in runner.unseen:
            yield Work(str(role), "finalists", task.tasks * runner.finalists * dev, tokens)
        yield Work(str(role), "test items", task.tasks * prompts * asked, tokens)
