"""Weights in a file that the loaded model has no place for: said, unless they are those of another task."""

import re
from collections.abc import Iterable
from pathlib import Path

from fuse_repro.shown import say

# Heads and poolers of pretraining or of another task, which published files hold beside what is used here.
OTHER_TASKS = re.compile(
    r"(^|\.)(pooler|cls|seq_relationship|lm_head|predictions|sop_classifier|vocab_(transform|layer_norm|projector)|"
    r"classifier|score|position_ids|rotary_emb)(\.|$)"
)


def say_unused(name: str, folder: Path, keys: Iterable[str]) -> None:
    """Say on standard error that a file holds weights that are not used; a misspelt or foreign part shows so.

    Args:
        name: the model's name.
        folder: where its files are.
        keys: the weights that it has no place for.
    """
    unused = sorted(key for key in keys if not OTHER_TASKS.search(key))
    if unused:
        say(
            f"{name}: {folder} holds weights that the model does not use: {unused[0]} ({len(unused)} such in all)"
        )
