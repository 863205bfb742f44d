"""`experiment=tune`: a soft prompt for every task of a data set, written in PEFT's format."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.errors import UsageError, first_line
from fuse_repro.prompts import save_peft
from fuse_repro.runners.assemble import weight_files
from fuse_repro.runners.build import build, build_data
from fuse_repro.runners.trainer import FIT, TEST, build_trainer
from fuse_repro.runners.transfer.checks import check_runner
from fuse_repro.runners.transfer.exam_module import Asked, PromptExamModule
from fuse_repro.runners.transfer.prompts import TunedPrompts
from fuse_repro.runners.transfer.results import summary
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.trainer import check_lengths, check_together
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.tasks import check_answers
from fuse_repro.weights import cache_folder


class TuneSettings:
    """What conf/runner/tune.yaml holds."""

    target: str
    base_model: str | None
    split: str
    calibrated: bool


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Tune, write, and ask one split with what was tuned and with the written template.

    Raises:
        UsageError: settings or data that cannot be used, or tuning that diverges.
    """
    runner = config.runner
    check_runner(config, TuneSettings)
    settings: PromptTuning = build(config.optimizer)
    check_lengths(config.trainer)
    check_together(settings, config.trainer)
    trainer = build_trainer(config.trainer, FIT, TEST, root=directory.path)
    data = build_data(config.dataset)
    tasks = data.tasks()
    lm = build(config.models[runner.target]).to(trainer.strategy.root_device)
    check_answers(tasks, [lm])
    directory.open(device=str(lm.device), weights=weight_files({runner.target: lm}))
    cache = cache_folder(config.cache_dir)
    tuned = TunedPrompts(settings, cache, directory.observers, config.trainer)
    tuned.prepare((lm, task, config.seed) for task in tasks)
    base = Path(config.output) if config.output else directory.path / "prompt"
    outputs = {}
    for task in tasks:
        try:
            prompt = tuned.of(lm, task, config.seed)
        except UsageError as error:
            failed = {"id": task.name, "task": task.name, "method": None, "status": "failed"}
            if task.name not in directory.known():
                directory.append(failed | {"error": first_line(error)})
            continue
        folder = base if len(tasks) == 1 else base / task.name
        save_peft(prompt, folder, lm, runner.base_model)
        outputs[task.name] = str(folder)
    data.ask_only([task for task in tasks if task.name in outputs])

    def prompts(task: PromptTask) -> dict[str, Asked]:
        return {"tuned": (lm, tuned.of(lm, task, config.seed)), "template": (lm, task.template)}

    if outputs:
        module = PromptExamModule(prompts, [lm], runner.split, directory, runner.calibrated)
        trainer.test(module, datamodule=data, verbose=False)
    return summary(directory.records(), runner.split) | {"outputs": outputs}
