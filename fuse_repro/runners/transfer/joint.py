"""Prompts of many tasks and seeds for one frozen model, tuned in one forward pass, each with a result of its own."""

import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.keys_values import cache_bytes
from fuse_repro.progress import bar
from fuse_repro.prompts import for_model
from fuse_repro.quiet import quiet_lightning
from fuse_repro.runners.objective import PRIMARY, build_objective
from fuse_repro.runners.transfer.checkpoints import group_keys, resumable_group
from fuse_repro.runners.transfer.joint_module import JointTuningModule, Member
from fuse_repro.runners.transfer.kept import KeptPrompt, TuningResult
from fuse_repro.runners.transfer.looks import Asked
from fuse_repro.runners.transfer.placing import layout_of
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.trainer import make_joint_trainer
from fuse_repro.runners.transfer.tuning import embedding_spread, initial_prompt, rows_and_gold, tuning_result
from fuse_repro.runners.transfer.tuning_module import Watch, ignore
from fuse_repro.storage import files
from fuse_repro.storage import tensors as store
from fuse_repro.tasks.answers import Answers
from fuse_repro.tasks.layout import Layout, Row
from fuse_repro.tasks.reader import MAX_CACHE_BYTES, fixed_texts, make_reader

FREE_SHARE = 0.25  # of a GPU's free memory that the keys and values of a group's texts may take
Outcome = TuningResult | UsageError


@dataclass(frozen=True, eq=False)
class Wanted:
    """A prompt that is wanted.

    Attributes:
        task: what it is tuned on.
        settings: how; those of one call differ in their seed only.
        watch: told the step and its loss, and precision@1 wherever dev is looked at.
    """

    task: PromptTask
    settings: PromptTuning
    watch: Watch = ignore


@dataclass(frozen=True, eq=False)
class _Ready:
    """The training and dev items of a task as tokens, and the numbers of their answers."""

    answers: Answers
    train: tuple[list[Row], Tensor]
    dev: tuple[list[Row], Tensor]

    @property
    def rows(self) -> list[Row]:
        return [*self.train[0], *self.dev[0]]


def tuned_together(
    lm: FrozenModel, wanted: Sequence[Wanted], cache_dir: Path, trainer: DictConfig | None = None
) -> list[Outcome]:
    """The prompts that are wanted of one model, each found in the cache or tuned, in the order given.

    Each is what `tuning_result` would have given, to rounding. A group that was stopped goes on where it was. A prompt
    that cannot be tuned has its error in its place; the others are tuned.
    """
    places = [_place(lm, one, cache_dir, trainer) for one in wanted]
    kept = [place for place in places if isinstance(place, KeptPrompt)]
    known: dict[Path, Outcome] = {}
    for one_kept in kept:
        if (found := one_kept.find()) is not None:
            known[one_kept.path] = found
    if len(known) < len({one_kept.path for one_kept in kept}):
        ready = _ready(lm, wanted)
        usable: list[tuple[Wanted, KeptPrompt]] = []
        for one, place in zip(wanted, places, strict=True):
            if isinstance(place, UsageError):
                continue
            if isinstance(error := ready[one.task.digest], UsageError):
                known.setdefault(place.path, error)
            elif _for_one_alone(one.task, ready[one.task.digest].answers):
                known[place.path] = known.get(place.path) or _alone(lm, one, cache_dir, trainer)
            else:
                usable.append((one, place))
        for group in _that_fit(lm, usable, ready):
            try:
                known |= _group(lm, group, ready, known, trainer)
            except UsageError as error:
                for _, place in group:
                    known.setdefault(place.path, error)
    return [place if isinstance(place, UsageError) else known[place.path] for place in places]


def _place(
    lm: FrozenModel, one: Wanted, cache_dir: Path, trainer: DictConfig | None
) -> KeptPrompt | UsageError:
    try:
        return KeptPrompt.of(lm, one.task, one.settings, cache_dir, trainer)
    except UsageError as error:
        return error


def _ready(lm: FrozenModel, wanted: Sequence[Wanted]) -> dict[str, Any]:
    """The tasks' digests -> their items as tokens, or why a task cannot be used."""
    found: dict[str, Any] = {}
    for one in wanted:
        task = one.task
        if task.digest in found:
            continue
        try:
            initial_prompt(lm, task, one.settings)  # whose errors are the task's own, too
            answers = Answers.of(lm, task.answers, task.multi_token)
            layout = layout_of(lm, task, one.settings)
            splits = (rows_and_gold(layout, task, split, answers) for split in ("train", "dev"))
            found[task.digest] = _Ready(answers, *splits)
        except UsageError as error:
            found[task.digest] = error
    return found


def _for_one_alone(task: PromptTask, answers: Answers) -> bool:
    """Whether answers of several tokens, or several right ones, have to be read, which a group does not do."""
    return answers.pieces is not None or any(item.also for items in task.splits.values() for item in items)


def _that_fit(
    lm: FrozenModel, group: Sequence[tuple[Wanted, KeptPrompt]], ready: dict[str, Any]
) -> list[Sequence[tuple[Wanted, KeptPrompt]]]:
    """The group, or halves of halves of it, the keys and values of whose texts fit in memory."""
    digests = dict.fromkeys(one.task.digest for one, _ in group)
    if len(digests) > 1 and isinstance(lm, CausalLM):
        rows = [row for digest in digests for row in ready[digest].rows]
        texts = fixed_texts(_layout(lm, group), rows)
        if texts and cache_bytes(lm, texts) > _budget(lm.device):
            middle = len(group) // 2
            return [*_that_fit(lm, group[:middle], ready), *_that_fit(lm, group[middle:], ready)]
    return [group] if group else []


def _budget(device: torch.device) -> int:
    """The bytes that the keys and values of a group's texts may take."""
    if device.type != "cuda":
        return MAX_CACHE_BYTES
    return max(MAX_CACHE_BYTES, int(FREE_SHARE * torch.cuda.mem_get_info(device)[0]))


def _group(
    lm: FrozenModel,
    group: Sequence[tuple[Wanted, KeptPrompt]],
    ready: dict[str, Any],
    known: dict[Path, Outcome],
    trainer: DictConfig | None,
) -> dict[Path, Outcome]:
    """The prompts of one group that are not known yet; those of a stopped group are tuned in the same company."""
    first, stems = group[0][1], [place.path.stem for _, place in group]
    cache = first.path.parent
    folder = cache / f".together-{store.digest(sorted(stems))[:32]}"
    missing = [(one, place) for one, place in group if place.path not in known]
    if len(missing) < 2 and not folder.exists():
        return {place.path: _alone(lm, one, cache.parent, trainer) for one, place in missing}
    if not missing:
        shutil.rmtree(folder, ignore_errors=True)
        return {}
    files.make_folder(cache, store.CACHE)
    with contextlib.ExitStack() as locks:
        for place in sorted((place for _, place in group), key=lambda place: place.path):
            locks.enter_context(place.locked())
        outcomes: dict[Path, Outcome] = {}
        for _, place in missing:
            if (found := place.find(quiet=True)) is not None:
                outcomes[place.path] = found
        files.sweep_up(cache, files.DAY_S)
        begun_before = group_keys(folder, stems)
        keys = begun_before or [place.path.stem for _, place in missing if place.path not in outcomes]
        members = [(one, place) for one, place in group if place.path.stem in keys]
        if members and len(outcomes) < len(missing):
            for place, outcome in _tune(lm, members, ready, folder, trainer):
                if isinstance(outcome, TuningResult) and place.path not in known | outcomes:
                    place.save(outcome)
                outcomes.setdefault(place.path, outcome)
        shutil.rmtree(folder, ignore_errors=True)
    return outcomes


def _alone(lm: FrozenModel, one: Wanted, cache_dir: Path, trainer: DictConfig | None) -> Outcome:
    try:
        return tuning_result(lm, one.task, one.settings, cache_dir, one.watch, trainer)
    except UsageError as error:
        return error


@torch.enable_grad()
def _tune(
    lm: FrozenModel,
    group: Sequence[tuple[Wanted, KeptPrompt]],
    ready: dict[str, Any],
    folder: Path,
    trainer: DictConfig | None,
) -> list[tuple[KeptPrompt, Outcome]]:
    """Tune a group, or go on with it where its checkpoint is."""
    begun = time.perf_counter()
    module = joint_module(lm, group, ready)
    files.make_folder(folder, store.CACHE)
    files.sweep_up(folder)
    begun_before = resumable_group(folder, module.state_dict())
    fitting = make_joint_trainer(lm, module, folder, trainer)
    total = sum(member.course.steps for member in module.members)
    with quiet_lightning(), bar(f"tuning {len(group)} prompts of {lm.name}", total) as module.advance:
        fitting.fit(module, ckpt_path=begun_before, weights_only=True)
    seconds = (time.perf_counter() - begun) / len(group)
    return [
        (place, module.failure(number) or _result(lm, module, number, place, seconds))
        for number, (_, place) in enumerate(group)
    ]


def _result(
    lm: FrozenModel, module: JointTuningModule, number: int, place: KeptPrompt, seconds: float
) -> TuningResult:
    member, progress = module.members[number], module.progress[number]
    prompt = for_model(lm, module.best(number).to(lm.device), place.place.position)
    return TuningResult(prompt, progress.hits / len(member.dev), progress.step, seconds)


def joint_module(
    lm: FrozenModel, group: Sequence[tuple[Wanted, KeptPrompt]], ready: dict[str, Any]
) -> JointTuningModule:
    """The module of a group at its start."""
    settings = group[0][0].settings
    rows: list[Row] = []
    asked: dict[str, tuple[Asked, Asked]] = {}
    for one, _ in group:
        digest = one.task.digest
        if digest in asked:
            continue
        found, candidates = ready[digest], ready[digest].answers.ids
        pair = []
        for own, gold in (found.train, found.dev):
            pair.append(Asked(len(rows), gold, candidates))
            rows += own
        asked[digest] = (pair[0], pair[1])
    members = [
        Member(
            place.path.stem,
            initial_prompt(lm, one.task, one.settings),
            one.settings,
            *asked[one.task.digest],
            one.watch,
        )
        for one, place in group
    ]
    reader = make_reader(_layout(lm, group), rows, _budget(lm.device))
    objective = build_objective(DictConfig(dict(settings.objective)), {PRIMARY: lm}, {})
    epoch = min(member.course.steps_per_look for member in members)
    return JointTuningModule(reader, objective, members, epoch, embedding_spread(lm))


def _layout(lm: FrozenModel, group: Sequence[tuple[Wanted, KeptPrompt]]) -> Layout:
    """The layout of all of a group: with the same settings, or of one task."""
    one = group[0][0]
    return layout_of(lm, one.task, one.settings)
