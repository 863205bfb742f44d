"""Soft prompts tuned on a task, one by one, and kept in the cache."""

import contextlib
import math
import shutil
import tempfile
import time
from pathlib import Path

import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from fuse_repro.data.prompt_task import ANSWER, SUBJECT, Item, PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.batching import out_of_memory
from fuse_repro.progress import bar
from fuse_repro.prompts import SoftPrompt, for_model, normal_init, template_init, vocabulary_init
from fuse_repro.quiet import quiet_lightning
from fuse_repro.runners.objective import PRIMARY, build_objective
from fuse_repro.runners.transfer.checkpoints import resumable
from fuse_repro.runners.transfer.kept import KeptPrompt, TuningResult
from fuse_repro.runners.transfer.placing import layout_of, place_of
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.trainer import make_trainer
from fuse_repro.runners.transfer.tuning_module import PromptTuningModule, ReadyItems, Watch, ignore
from fuse_repro.storage import files
from fuse_repro.storage import tensors as store
from fuse_repro.tasks.answers import Answers, right_table
from fuse_repro.tasks.layout import Layout, Row
from fuse_repro.tasks.reader import make_reader
from fuse_repro.tasks.whole_words import WholeWordReader


def tuned_prompt(
    lm: FrozenModel,
    task: PromptTask,
    settings: PromptTuning,
    cache_dir: Path | None = None,
    watch: Watch = ignore,
    trainer: DictConfig | None = None,
) -> SoftPrompt:
    """A prompt for `task`, tuned on its training items, best on dev; found again in `cache_dir`.

    The key hashes the model, the task, the settings and the trainer's precision. A run that was stopped goes on where
    it was. Raises UsageError as `tune` does.
    """
    return tuning_result(lm, task, settings, cache_dir, watch, trainer).prompt


def tuning_result(
    lm: FrozenModel,
    task: PromptTask,
    settings: PromptTuning,
    cache_dir: Path | None = None,
    watch: Watch = ignore,
    trainer: DictConfig | None = None,
) -> TuningResult:
    """As `tuned_prompt`, with its precision@1 on dev and its cost."""
    if cache_dir is None:
        return tune(lm, task, settings, watch=watch, trainer=trainer)
    kept = KeptPrompt.of(lm, task, settings, cache_dir, trainer)
    found = kept.find()  # without the lock: a cache that is filled may be read-only
    if found is not None:
        return found
    folder = kept.path.parent
    files.make_folder(folder, store.CACHE)
    with kept.locked():
        found = kept.find(quiet=True)
        if found is not None:
            return found
        files.sweep_up(folder, files.DAY_S)
        checkpoints = folder / f".{kept.path.stem}"
        result = tune(lm, task, settings, checkpoints, watch, trainer)
        kept.save(result)
        shutil.rmtree(checkpoints, ignore_errors=True)
    return result


@torch.enable_grad()
def tune(
    lm: FrozenModel,
    task: PromptTask,
    settings: PromptTuning,
    checkpoints: Path | None = None,
    watch: Watch = ignore,
    trainer: DictConfig | None = None,
    start: SoftPrompt | None = None,
) -> TuningResult:
    """Tune a prompt on the training items and give the one that was best on dev.

    Args:
        lm: a masked or causal language model; it is not changed.
        task: items whose answer is not one token of the model are not used.
        settings: how to tune.
        checkpoints: a folder for checkpoints of the prompt alone; with one that a stopped run left, that run
            goes on, to the same result as if it had not been stopped.
        watch: told the step and its loss (nats), and precision@1 wherever dev is looked at.
        trainer: the config of Lightning's Trainer; None for its defaults.
        start: what is tuned, in its own place; None for what the settings say.

    Raises:
        UsageError: no training or dev item can be used, a text is too long, a step does not fit in memory, or
            tuning diverges.
    """
    begun = time.perf_counter()
    module = tuning_module(lm, task, settings, start)
    module.watch = watch
    initial, first = module.prompt.detach().clone(), module.look() if settings.keep_start else None
    with contextlib.ExitStack() as stack:
        folder = checkpoints or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="fuse_repro_tuning_"))
        )
        files.make_folder(folder, store.CACHE)
        files.sweep_up(folder)
        begun_before = resumable(folder, module.prompt)
        fitting = make_trainer(lm, module, folder, trainer)
        total = module.epochs * module.steps_per_epoch
        with quiet_lightning(), bar(f"tuning a prompt for {task.name}", total) as module.advance:
            try:
                fitting.fit(module, ckpt_path=begun_before, weights_only=True)
            except (RuntimeError, MemoryError) as error:
                if out_of_memory(error):
                    raise too_large(lm, settings) from error
                raise
        best = fitting.checkpoint_callbacks[0]
        assert isinstance(best, ModelCheckpoint)
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    assert best.best_model_score is not None
    score, vectors = float(best.best_model_score), state["state_dict"]["prompt"].to(lm.device)
    if first is not None and first.score >= score:
        score, vectors = first.score, initial
    prompt = for_model(lm, vectors, start.position if start else place_of(lm, task, settings).position)
    seconds = time.perf_counter() - begun
    hits = math.ceil(score)  # the score is hits minus less than one
    return TuningResult(prompt, hits / module.dev_items, fitting.global_step, seconds)


def too_large(lm: FrozenModel, settings: PromptTuning) -> UsageError:
    """The error of one prompt whose tuning does not fit in memory."""
    return UsageError(
        f"tuning one prompt of {lm.name} does not fit in memory: lower optimizer.batch_size={settings.batch_size} or "
        f"optimizer.max_text_tokens={settings.max_text_tokens}, or use trainer=cpu"
    )


def tuning_module(
    lm: FrozenModel, task: PromptTask, settings: PromptTuning, start: SoftPrompt | None = None
) -> PromptTuningModule:
    """The module at its start. Raises UsageError as `tune` does."""
    answers = Answers.of(lm, task.answers, task.multi_token)
    if start is None:
        layout, initial = layout_of(lm, task, settings), initial_prompt(lm, task, settings)
    else:
        layout, initial = Layout.of(lm, start, settings.max_text_tokens), start.embeddings.float()
    ready = {split: _ready(layout, task, split, answers) for split in ("train", "dev")}
    objective = build_objective(DictConfig(dict(settings.objective)), {PRIMARY: lm}, {})
    spread = embedding_spread(lm)
    return PromptTuningModule(initial, objective, answers, ready["train"], ready["dev"], settings, spread)


def initial_prompt(lm: FrozenModel, task: PromptTask, settings: PromptTuning) -> Tensor:
    """The prompt [m, d] that tuning starts from."""
    generator = torch.Generator().manual_seed(settings.seed)
    place = place_of(lm, task, settings)
    if settings.init == "template" and place.ids:
        with torch.no_grad():
            return lm.embed(torch.tensor(place.ids, device=lm.device)).float()
    if settings.init == "template":
        words = task.template.replace(SUBJECT, " ").replace(ANSWER, " ").split()
        return template_init(lm, " ".join(words), place.length)
    return {"normal": normal_init, "vocabulary": vocabulary_init}[settings.init](lm, place.length, generator)


def embedding_spread(lm: FrozenModel) -> float:
    """The standard deviation of the values in the model's embedding table."""
    return float(lm.embedding_table().float().std())


def _ready(layout: Layout, task: PromptTask, split: str, answers: Answers) -> ReadyItems:
    asked = _asked(layout, task, split, answers)
    rows, right = layout.rows([item.text for item, _ in asked]), [numbers for _, numbers in asked]
    gold = torch.tensor([numbers[0] for numbers in right], device=layout.lm.device)
    pieces = answers.pieces
    reader = make_reader(layout, rows) if pieces is None else WholeWordReader(layout.lm, rows, pieces)
    return ReadyItems(reader, gold, right_table(right, len(answers.words), layout.lm.device))


def rows_and_gold(layout: Layout, task: PromptTask, split: str, answers: Answers) -> tuple[list[Row], Tensor]:
    """The N items of a split that have an answer of one token, and the numbers of their answers: [N].

    Raises:
        UsageError: there is none, or a text is too long.
    """
    asked = _asked(layout, task, split, answers)
    gold = torch.tensor([numbers[0] for _, numbers in asked], device=layout.lm.device)
    return layout.rows([item.text for item, _ in asked]), gold


def _asked(
    layout: Layout, task: PromptTask, split: str, answers: Answers
) -> list[tuple[Item, tuple[int, ...]]]:
    """The items of a split that can be asked, and their right answers. Raises UsageError where there is none."""
    asked = answers.asked(task.splits[split])
    if not asked:
        raise UsageError(
            f"{task.name} has no {split} item whose answer is one token of {layout.lm.name} "
            f"(of {len(task.splits[split])}): a prompt cannot be tuned on it"
        )
    return asked
