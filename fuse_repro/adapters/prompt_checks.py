"""The checks of soft prompts that every map shares."""

from collections.abc import Sequence

from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel


def check_prompt(prompt: Tensor, model: FrozenModel) -> None:
    """Check that `prompt` is [m, d] of this model's d, with m >= 1 and finite values.

    Raises:
        UsageError: it is not.
    """
    size = model.embedding_size
    if prompt.ndim != 2 or prompt.shape[0] == 0 or prompt.shape[1] != size:
        raise UsageError(
            f"a prompt of shape {tuple(prompt.shape)} is none of {model.name}, whose prompts are [m, {size}] with "
            "m of at least 1: give the prompt that was tuned for this model"
        )
    bad = (~prompt.isfinite()).any(1).nonzero().flatten().tolist()
    if bad:
        raise UsageError(
            f"the prompt of {model.name} has NaN or infinite values in row {bad[0]}: tune it again, with a "
            "lower learning rate"
        )


def check_prompts(prompts: Sequence[Tensor], models: Sequence[FrozenModel]) -> None:
    """Check that there is one good prompt per model, all of the same number of rows.

    Raises:
        UsageError: another number of prompts than models, unequal numbers of rows, or what `check_prompt`
            refuses.
    """
    names = ", ".join(model.name for model in models)
    if len(prompts) != len(models):
        raise UsageError(
            f"{len(prompts)} prompts for {len(models)} sources ({names}): give one for each, in order"
        )
    for prompt, model in zip(prompts, models, strict=True):
        check_prompt(prompt, model)
    lengths = [len(prompt) for prompt in prompts]
    if len(set(lengths)) > 1:
        raise UsageError(
            f"the prompts of {names} have m = {', '.join(map(str, lengths))} rows: sources are matched row by "
            "row, so tune them with the same m"
        )
