"""Terms of the shared loss, and their gradients by tokens."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from closeness import distance
from PIL import Image
from tiny_classifiers import tiny_bert_classifier
from tiny_masked_lms import tiny_lm
from tiny_models import tiny_bert_encoder, tiny_clip, tiny_conse, tiny_gpt2, tiny_llama, tiny_siglip
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import LookupMap
from fuse_repro.data.prompt_task import Item
from fuse_repro.models.base import FrozenModel
from fuse_repro.objectives import (
    AnswerTerm,
    FluencyTerm,
    ImageMatchTerm,
    MultiObjectiveLoss,
    PromptBatch,
    SecondaryFluencyTerm,
    TextMatchTerm,
)
from fuse_repro.objectives.classifier import ClassifierTerm
from fuse_repro.search import PromptProblem
from fuse_repro.search.token_gradients import token_gradients

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TEXTS = [f"An image of a {word}" for word in WORDS[:12]]
FACTS = (Item("A dog", "cat"), Item("The train down the tracks", "a small village"), Item("France", "cat"))
FIRST = "{prompt} [X] [Y]"
Make = Callable[[FrozenModel, Any], Any]
TERMS: dict[str, tuple[Callable[[], FrozenModel], Make, Any]] = {
    "other fluency": (tiny_llama, lambda m, a: SecondaryFluencyTerm("t", m, a), None),
    "text": (tiny_bert_encoder, lambda m, a: TextMatchTerm("t", m, a), SENTENCES[0]),
    "clip": (tiny_clip, lambda m, a: ImageMatchTerm("t", m, a), Image.effect_noise((40, 40), 60)),
    "siglip": (tiny_siglip, lambda m, a: ImageMatchTerm("t", m, a), Image.effect_noise((40, 40), 60)),
    "conse": (tiny_conse, lambda m, a: ImageMatchTerm("t", m, a), Image.effect_noise((40, 40), 60)),
    "answers": (tiny_llama, lambda m, a: AnswerTerm("t", m, a), FACTS),
    "answers of the first model": (tiny_gpt2, lambda m, a: AnswerTerm("t", m, a), FACTS),
    "answers of a masked model": (lambda: tiny_lm("bert"), lambda m, a: AnswerTerm("t", m, a), FACTS),
    "answers by a prompt that stands first": (tiny_llama, lambda m, a: AnswerTerm("t", m, a, FIRST), FACTS),
    "classifier": (tiny_bert_classifier, lambda m, a: ClassifierTerm("t", m, a), None),
}


def problem_of(name: str, where: dict[str, Any]) -> PromptProblem:
    make, term_of, aim = TERMS[name]
    lm, model = tiny_gpt2().to(**where), make().to(**where)
    term = term_of(model, LookupMap.fit(lm, model, WORDS))
    targets = {} if aim is None else {"t": term.target(aim)}
    return PromptProblem(lm, MultiObjectiveLoss({"t": term, "fluency": FluencyTerm(lm)}), "An image", targets)


@pytest.mark.parametrize("name", TERMS)
def test_values_and_gradients_by_tokens(name: str, device: torch.device) -> None:
    totals, gradients = [], []
    exact = torch.float32 if name == "conse" else torch.float64  # its photograph model reads float32 only
    for where in ({"device": "cpu", "dtype": exact}, {"device": device}):
        problem = problem_of(name, where)
        values = problem.objective(PromptBatch(TEXTS, problem.targets))
        assert values.total.device.type == torch.device(where["device"]).type
        totals.append(values.total)
        prompts = [tuple(problem.lm.tokenizer.encode(TEXTS[:1])[0])]
        gradients.append(token_gradients(problem, prompts).scores(0, [len(prompts[0]) - 1]))
    assert distance(totals[1], totals[0]) < 1e-4
    assert distance(gradients[1], gradients[0]) < 2e-3
