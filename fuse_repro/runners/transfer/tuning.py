"""Soft prompts tuned on a task, kept under a key of everything that went into them."""

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from fuse_repro.data.prompt_task import ANSWER, SUBJECT, PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.progress import bar
from fuse_repro.prompts import SoftPrompt, for_model, normal_init, template_init, vocabulary_init
from fuse_repro.runners.objective import PRIMARY, build_objective
from fuse_repro.runners.quiet import quiet_lightning
from fuse_repro.runners.transfer.checkpoints import resumable
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.trainer import decides_results, make_trainer
from fuse_repro.runners.transfer.tuning_module import PromptTuningModule, ReadyItems, Watch, ignore
from fuse_repro.storage import files
from fuse_repro.storage import tensors as store
from fuse_repro.tasks.answers import Answers
from fuse_repro.tasks.layout import Layout
from fuse_repro.tasks.reader import make_reader
from fuse_repro.weights.cache import locked

FORMAT = 2


@dataclass(frozen=True)
class TuningResult:
    """The prompt that was best on dev, its precision@1 there, and what it cost."""

    prompt: SoftPrompt
    dev_accuracy: float
    steps: int
    seconds: float


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
    inputs = {
        "kind": "soft prompt",
        "format": FORMAT,
        "model": lm.fingerprint,
        "weights": None if lm.weights is None else lm.weights.files,
        "dtype": str(lm.dtype),
        "task": task.digest,
        "settings": asdict(settings),
        "trainer": decides_results(trainer),
    }
    path = Path(cache_dir) / "prompts" / f"{store.digest(inputs)[:32]}.safetensors"
    found = _find(path, lm, settings, inputs)  # without the lock: a cache that is filled may be read-only
    if found is not None:
        return found
    files.make_folder(path.parent, store.CACHE)
    with _locked(path):
        found = _find(path, lm, settings, inputs, quiet=True)
        if found is not None:
            return found
        files.sweep_up(path.parent, files.DAY_S)
        checkpoints = path.with_name(f".{path.stem}")
        result = tune(lm, task, settings, checkpoints, watch, trainer)
        notes = {"dev_accuracy": result.dev_accuracy, "steps": result.steps, "seconds": result.seconds}
        store.save(path, {"prompt": result.prompt.embeddings}, inputs | notes, store.CACHE)
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

    Raises:
        UsageError: no training or dev item can be used, a text is too long, or tuning diverges.
    """
    begun = time.perf_counter()
    module = tuning_module(lm, task, settings)
    module.watch = watch
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
            fitting.fit(module, ckpt_path=begun_before, weights_only=True)
        best = fitting.checkpoint_callbacks[0]
        assert isinstance(best, ModelCheckpoint)
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    assert best.best_model_score is not None
    hits = math.ceil(float(best.best_model_score))  # the score is hits minus less than one
    prompt = for_model(lm, state["state_dict"]["prompt"].to(lm.device), settings.position)
    seconds = time.perf_counter() - begun
    return TuningResult(prompt, hits / module.dev_items, fitting.global_step, seconds)


def tuning_module(lm: FrozenModel, task: PromptTask, settings: PromptTuning) -> PromptTuningModule:
    """The module at its start. Raises UsageError as `tune` does."""
    answers = Answers.of(lm, task.answers)
    layout = Layout(lm, settings.position, settings.m, None, settings.max_text_tokens)
    ready = {split: _ready(layout, task, split, answers) for split in ("train", "dev")}
    objective = build_objective(DictConfig(dict(settings.objective)), {PRIMARY: lm}, {})
    initial = initial_prompt(lm, task, settings)
    return PromptTuningModule(initial, objective, answers, ready["train"], ready["dev"], settings)


def initial_prompt(lm: FrozenModel, task: PromptTask, settings: PromptTuning) -> Tensor:
    """The prompt [m, d] that tuning starts from."""
    generator = torch.Generator().manual_seed(settings.seed)
    if settings.init == "template":
        words = task.template.replace(SUBJECT, " ").replace(ANSWER, " ").split()
        return template_init(lm, " ".join(words), settings.m)
    return {"normal": normal_init, "vocabulary": vocabulary_init}[settings.init](lm, settings.m, generator)


def _ready(layout: Layout, task: PromptTask, split: str, answers: Answers) -> ReadyItems:
    items = [item for item in task.splits[split] if item.answer in answers.index]
    if not items:
        raise UsageError(
            f"{task.name} has no {split} item whose answer is one token of {layout.lm.name} "
            f"(of {len(task.splits[split])}): a prompt cannot be tuned on it"
        )
    gold = torch.tensor([answers.index[item.answer] for item in items], device=layout.lm.device)
    return ReadyItems(make_reader(layout, layout.rows([item.text for item in items])), gold)


def _find(
    path: Path, lm: FrozenModel, settings: PromptTuning, inputs: Mapping[str, Any], quiet: bool = False
) -> TuningResult | None:
    """What an earlier run kept, or None where there is nothing or the file is damaged; see `store.find`."""
    expect = {"prompt": store.Expected((settings.m, lm.embedding_size))}
    found = store.find(path, inputs, expect, quiet)
    if found is None:
        return None
    tensors, notes = found
    try:
        figures = float(notes["dev_accuracy"]), int(notes["steps"]), float(notes["seconds"])
    except (KeyError, TypeError, ValueError):
        return None
    return TuningResult(for_model(lm, tensors["prompt"].to(lm.device), settings.position), *figures)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of one prompt, so that two runs that want the same one do not tune it in one folder."""
    with contextlib.ExitStack() as stack:
        with files.writing(path, store.CACHE):
            stack.enter_context(locked(path))
        yield
