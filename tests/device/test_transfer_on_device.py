"""Soft prompts: tuned, asked, and matched by both solvers."""

from typing import Any

import pytest
import torch
from closeness import distance
from tiny_masked_lms import tiny_lm

from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.prompts import for_model, normal_init
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.tuning import tune
from fuse_repro.tasks import evaluate

TASK = PromptTask(
    "articles",
    ("a", "the", "of"),
    {
        "train": tuple(Item(text, "a") for text in ("France", "a cat", "old dog", "the red wine")),
        "dev": (Item("lake", "a"), Item("an image", "the")),
        "test": (Item("Paris", "a"), Item("Tokyo", "the"), Item("kite", "of")),
    },
    "[X] is [Y] .",
)
ADAM: dict[str, Any] = {"_target_": "torch.optim.Adam", "lr": 0.05}
SETTINGS = PromptTuning(m=3, torch_optimizer=ADAM, max_steps=8, batch_size=4, evaluate_every=2, patience=100)


@pytest.mark.parametrize("position", ["postfix", "prefix"])
@pytest.mark.parametrize("architecture", ["bert", "gpt2", "gemma3"])
def test_a_prompt_answers_alike(architecture: str, position: str, device: torch.device) -> None:
    found = []
    for where in ({"device": "cpu", "dtype": torch.float64}, {"device": device}):
        lm = tiny_lm(architecture).to(**where)
        vectors = normal_init(lm, 3, torch.Generator().manual_seed(1))
        found.append(evaluate(lm, for_model(lm, vectors, position), TASK))
    assert found[1].predictions == found[0].predictions
    assert found[1].loss == pytest.approx(found[0].loss, rel=1e-4)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_a_prompt_is_tuned_alike(architecture: str, device: torch.device) -> None:
    found = []
    for where in ({"device": "cpu", "dtype": torch.float64}, {"device": device}):
        lm = tiny_lm(architecture).to(**where)
        found.append(tune(lm, TASK, SETTINGS).prompt.embeddings)
    assert found[1].device.type == device.type
    assert distance(found[1], found[0]) < 1e-3
