"""Prompts that the user gives: soft ones in PEFT's folders, and written ones."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import ListConfig

from fuse_repro.data.prompt_task import PromptTask, check_template
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import SoftPrompt, read_peft
from fuse_repro.tasks import answerable, check_answers

HOW = "a folder in PEFT's format (adapter_config.json and adapter_model.safetensors)"


def read_prompts(given: Any, roles: Sequence[str]) -> list[SoftPrompt]:
    """The soft prompts of `prompt=`, one per role, as their files have them; nothing is loaded but these.

    Raises:
        UsageError: no prompt, another number of prompts than models, or a folder that holds none.
    """
    folders = list(given) if isinstance(given, list | tuple | ListConfig) else [given]
    for folder in folders:
        require(isinstance(folder, str) and bool(folder.strip()), "prompt", folder, HOW)
    if len(folders) != len(roles):
        raise UsageError(
            f"prompt has {len(folders)} folders for {len(roles)} models ({', '.join(roles)}): give one for each, "
            "as prompt=[A,B] runner.sources=[source,second]"
        )
    prompts = [read_peft(Path(folder)) for folder in folders]
    lengths = [prompt.length for prompt in prompts]
    require(
        len(set(lengths)) == 1,
        "prompt",
        lengths,
        "prompts of equally many vectors: rows are matched one by one",
    )
    places = sorted({prompt.position for prompt in prompts})
    require(len(places) == 1, "prompt", places, "prompts that stand at one place, all prefix or all postfix")
    return prompts


def fitting(prompt: SoftPrompt, lm: FrozenModel, force: bool) -> SoftPrompt:
    """The prompt on the model's device, if it is one of this model.

    Args:
        prompt: as read.
        lm: the model that it is said to be of.
        force: take it for this model's even if it was made for other weights or another tokenizer; never if its
            vectors have another size.

    Raises:
        UsageError: it is of another model.
    """
    taken = replace(prompt, fingerprint="") if force else prompt
    try:
        taken.check_model(lm)
    except UsageError as error:
        size = prompt.embeddings.shape[1]
        if force or size != lm.embedding_size:
            raise UsageError(
                f"prompt: its vectors have {size} numbers{_owner(prompt)}, and those of {lm.name} have "
                f"{lm.embedding_size}: choose the model that it was tuned on, with model@models.ROLE=NAME"
            ) from error
        raise UsageError(
            f"prompt: made for other weights or another tokenizer than {lm.name}'s{_owner(prompt)}; choose that model, "
            "or take it as it is with runner.force=true"
        ) from error
    return SoftPrompt(prompt.embeddings.to(lm.device), prompt.position, lm.name, lm.fingerprint)


def comparable(tasks: Sequence[PromptTask], models: Sequence[FrozenModel]) -> list[PromptTask]:
    """The tasks with the answers that every model can give, so that all models are asked the same items.

    A task that has none left stays as it is: its record says so.

    Raises:
        UsageError: an answer that the task's `multi_token` does not allow.
    """
    check_answers(tasks, models)
    found = []
    for task in tasks:
        try:
            found.append(answerable(task, models))
        except UsageError:
            found.append(task)
    return found


def written_prompt(text: Any) -> str:
    """The template of `text=`. Raises UsageError if it is none."""
    require(isinstance(text, str) and bool(text.strip()), "text", text, "a prompt such as '[X] It was [Y] .'")
    check_template("text", text)
    return str(text)


def _owner(prompt: SoftPrompt) -> str:
    return f" (of {prompt.model})" if prompt.model else ""
