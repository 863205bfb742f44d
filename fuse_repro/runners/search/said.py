"""What models say after a prompt that was searched for one fixed text."""

from collections.abc import Mapping
from typing import Any

import torch

from fuse_repro.data.prompt_task import Item
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.metering import unmetered
from fuse_repro.objectives import AnswerTerm, PromptBatch

NAME = "target"


@torch.no_grad()
def said(
    models: Mapping[str, FrozenModel], template: str, chat: bool, prompt: str, example: Item
) -> dict[str, dict[str, Any]]:
    """Role -> `nats` per token of the text, and what a causal model `says`: its most probable tokens, as many.

    Args:
        models: all that are asked, by role.
        template: with {prompt} and [Y].
        chat: whether the models' chat templates write what stands before [Y].
        prompt: what was found.
        example: the text as the answer of an example without a text.
    """
    found: dict[str, dict[str, Any]] = {}
    with unmetered():
        for role, model in models.items():
            term = AnswerTerm(NAME, model, template=template, chat=chat)
            examples = term.target([example])
            nats = float(term(PromptBatch([prompt], {NAME: examples}))[0])
            found[role] = {"nats": nats}
            if isinstance(model, CausalLM):
                (before, between, _), (answer,) = examples.pieces[0], examples.answers
                (own,) = term.template.split_prompts(model.tokenizer, [prompt])
                found[role]["says"] = greedy(model, (*before, *own.ids, *between), len(answer))
    return found


def greedy(lm: CausalLM, ids: tuple[int, ...], count: int) -> str:
    """The text of the `count` tokens that follow, each the most probable one after those before it."""
    state, first = lm.start(torch.tensor([ids], device=lm.device)), torch.zeros(1, dtype=torch.long)
    tokens: list[int] = []
    while True:
        best = state.log_probs.argmax(1)
        tokens.append(int(best[0]))
        if len(tokens) == count:
            return lm.tokenizer.decode([tokens])[0]
        state = state.advance(first.to(lm.device), best)
