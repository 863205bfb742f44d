"""The overrides of the commands of docs/move.md, taken from those of a tiny transfer."""

from collections.abc import Sequence
from pathlib import Path

MAP = ["adapter.holdout=10"]


def of(overrides: Sequence[str], *groups: str) -> list[str]:
    """The overrides of a tiny transfer that another experiment has, too."""
    return [one for one in overrides if one.startswith(("trainer", "cache_dir", *groups))]


def lm(overrides: Sequence[str], role: str) -> list[str]:
    """The model of a role of a transfer as the only model of a run."""
    own = [one for one in overrides if one.startswith((f"models.{role}.", f"model@models.{role}="))]
    return [one.replace(f"models.{role}", "models.lm") for one in own]


def chain(overrides: Sequence[str], folder: Path) -> list[list[str]]:
    """Tune on the source, move to the target, evaluate there: the arguments of three commands.

    Args:
        overrides: of a tiny transfer.
        folder: where prompts and run directories go: `tuned`, `moved`, `tune`, `move`, `evaluate`.
    """
    tuned, moved = folder / "tuned", folder / "moved"
    data, models = of(overrides, "dataset"), of(overrides, "model", "corpus")
    steps = ["optimizer.m=3", "optimizer.max_steps=4", f"output={tuned}", f"output_dir={folder / 'tune'}"]
    move = [*models, *data, *MAP, f"prompt={tuned}", f"output={moved}", f"output_dir={folder / 'move'}"]
    asked = [*data, f"prompt={moved}", "text='[X] It was [Y] .'", f"output_dir={folder / 'evaluate'}"]
    return [
        ["experiment=tune", *lm(overrides, "source"), *data, *steps],
        ["experiment=move", *move],
        ["experiment=evaluate", *lm(overrides, "target"), *asked],
    ]
