"""`experiment=evaluate`: how many items a soft or a written prompt gets right on one model."""

from typing import Any

from omegaconf import DictConfig

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.runners.assemble import weight_files
from fuse_repro.runners.build import build, build_data
from fuse_repro.runners.trainer import TEST, build_trainer
from fuse_repro.runners.transfer.checks import check_runner
from fuse_repro.runners.transfer.exam_module import Asked, PromptExamModule
from fuse_repro.runners.transfer.given import fitting, read_prompts, written_prompt
from fuse_repro.runners.transfer.results import summary
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.tasks import check_answers


class EvaluateSettings:
    """What conf/runner/evaluate.yaml holds."""

    target: str
    force: bool
    template: bool
    split: str
    calibrated: bool


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Ask every item of every task with each prompt, the data set's own template among them.

    Raises:
        UsageError: no prompt at all, one that the model cannot read, or data that cannot be used.
    """
    runner = config.runner
    check_runner(config, EvaluateSettings)
    soft = None if config.prompt is None else read_prompts(config.prompt, [runner.target])[0]
    written = None if config.text is None else written_prompt(config.text)
    if soft is None and written is None and not runner.template:
        raise UsageError(
            "no prompt is given: prompt=FOLDER for a soft one, \"text='[X] is [Y] .'\" for a written one, or "
            "runner.template=true for the data set's own"
        )
    trainer = build_trainer(config.trainer, TEST, root=directory.path)
    data = build_data(config.dataset)
    tasks = data.tasks()  # mistakes in the data are found before the model is loaded
    lm = build(config.models[runner.target]).to(trainer.strategy.root_device)
    check_answers(tasks, [lm])
    data.ask_only(tasks)
    directory.open(device=str(lm.device), weights=weight_files({runner.target: lm}))
    asked: dict[str, Asked] = {}
    if soft is not None:
        asked["prompt"] = (lm, fitting(soft, lm, runner.force))
    if written is not None:
        asked["text"] = (lm, written)

    def prompts(task: PromptTask) -> dict[str, Asked]:
        return asked | ({"template": (lm, task.template)} if runner.template else {})

    module = PromptExamModule(prompts, [lm], runner.split, directory, runner.calibrated)
    trainer.test(module, datamodule=data, verbose=False)
    return summary(directory.records(), runner.split)
