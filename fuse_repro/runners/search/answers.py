"""`experiment=answers`: one written prompt that several language models answer by."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from fuse_repro.adapters import EmbeddingMap, LookupMap
from fuse_repro.data.prompt_task import ANSWER, SPLITS, SUBJECT, PromptTask
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.objectives import AnswerTerm
from fuse_repro.objectives.answer_template import PROMPT
from fuse_repro.runners.assemble import prepare_search
from fuse_repro.runners.build import located
from fuse_repro.runners.objective import build_objective, term_weights
from fuse_repro.runners.search.answer_draft import check_draft, check_roles
from fuse_repro.runners.search.answer_items import DRAWS, AnswerItems, answer_items, tasks_of
from fuse_repro.runners.search.answers_module import BASELINES, AnswerSearchModule
from fuse_repro.runners.search.module import timing
from fuse_repro.runners.shards import refuse_shards
from fuse_repro.runners.values import check_settings
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.shown import say

UNBOUNDED = 2.0**20  # GiB: the table is as large as the model's own


class AnswersSettings:
    """What conf/runner/answers.yaml holds."""

    template: str
    chat: bool
    prefix: str
    examples: int | None
    draw: str
    guides: Sequence[str] | None
    judges: Sequence[str] | None
    draft_examples: int | None
    draft_models: Sequence[str] | None
    finalists: int
    dev_items: int | None
    split: str
    baselines: Sequence[str]
    shown: int
    unseen: Sequence[str]


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Search a prompt for every task of config.dataset, or for config.target; what results.json holds.

    Raises UsageError for settings or data that cannot be used, and where no prompt was found at all.
    """
    check_settings("runner", config.runner, AnswersSettings)
    check_runner(config)
    tasks: list[PromptTask] = []
    unseen = list(config.runner.unseen)

    def read(data: object) -> None:
        tasks.extend(tasks_of(config, data))

    parts = prepare_search(config, directory, check_speakers, read, unseen=unseen, drafts=True)
    searched = {role: model for role, model in parts.models.items() if role not in unseen}
    adapters = parts.adapters | shared_tokenizers(parts.lm, searched, parts.adapters)
    objective = build_objective(objective_of(config), searched, adapters)
    items = answer_items(config, tasks, list(parts.models.values()))
    module = AnswerSearchModule(
        parts.lm,
        searched,
        objective,
        parts.optimizer,
        directory,
        unseen={role: parts.models[role] for role in unseen},
        runner=config.runner,
        seed=config.seed,
    )
    module.search_all(parts.trainer, AnswerItems(items))
    return module.results() | {"timing": timing(parts.fit_seconds, module.seconds, parts.adapters)}


def shared_tokenizers(
    lm: CausalLM, models: Mapping[str, FrozenModel], adapters: Mapping[str, EmbeddingMap]
) -> dict[str, EmbeddingMap]:
    """Role -> what carries the gradient of a model with the primary model's tokenizer: its own table of tokens.

    There tokens stand for themselves, whatever map the config names. It is said on standard error. A lookup among the
    `adapters` is that table already; with a search that takes no gradients there are none, and no table is made.
    """
    found: dict[str, EmbeddingMap] = {}
    for role, model in models.items():
        if model is not lm and model.tokenizer.fingerprint == lm.tokenizer.fingerprint:
            say(
                f"{model.name} has the tokenizer of {lm.name}: tokens stand for themselves, and no map is needed"
            )
            fitted = adapters.get(role)
            if fitted is not None and not isinstance(fitted, LookupMap):
                found[role] = LookupMap.fit(lm, model, max_gib=UNBOUNDED)
    return found


def objective_of(config: DictConfig) -> DictConfig:
    """The objective of the config; a fixed text competes with the whole vocabulary, whatever answers do."""
    if config.target is None:
        return config.objective
    change = {name: {"candidates": "vocabulary"} for name in config.objective if _asks(config, str(name))}
    return cast(DictConfig, OmegaConf.merge(config.objective, change))


def _asks(config: DictConfig, name: str) -> bool:
    """Whether a term of the objective asks for answers."""
    kind = located(config.objective[name]._target_, f"objective.{name}")
    return isinstance(kind, type) and issubclass(kind, AnswerTerm)


def check_runner(config: DictConfig) -> None:
    """Check the runner's values and its objective before anything is read or loaded.

    Raises:
        UsageError: a value out of range, a template without its marks, or an objective without an answer.
    """
    runner = config.runner
    refuse_shards(config)
    for mark in (PROMPT, ANSWER):
        good = runner.template.count(mark) == 1
        require(good, "runner.template", runner.template, f"a text with {PROMPT} and {ANSWER}, once each")
    if config.target is None:
        good = runner.template.count(SUBJECT) == 1
        require(good, "runner.template", runner.template, f"one with {SUBJECT} for the examples' texts, once")
    require(runner.draw in DRAWS, "runner.draw", runner.draw, f"one of {', '.join(DRAWS)}")
    unknown = [name for name in runner.baselines if name not in BASELINES]
    require(not unknown, "runner.baselines", unknown, f"any of {', '.join(BASELINES)}")
    require(runner.split in SPLITS, "runner.split", runner.split, f"one of {', '.join(SPLITS)}")
    check_roles(config)
    check_draft(config)
    for name, least in (("examples", 1), ("finalists", 1), ("dev_items", 1), ("shown", 0)):
        value = runner[name]
        fine = value is None or value >= least
        require(fine, f"runner.{name}", value, f"at least {least}")
    term_weights(config.objective)
    asks = any(node.weight != 0 and _asks(config, str(name)) for name, node in config.objective.items())
    allowed = "one with an AnswerTerm of a weight above 0, such as objective=answers"
    require(asks, "objective", list(config.objective), allowed)


def check_speakers(models: Mapping[str, FrozenModel]) -> None:
    """Raise UsageError for a model that gives no answers."""
    for role, model in models.items():
        speaks = isinstance(model, CausalLM | MaskedLM)
        require(speaks, f"models.{role}", model.name, "a causal or masked language model")
