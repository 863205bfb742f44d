"""Prompts that begin with nothing: a search draws and scores their first token as a text's first token is scored."""

from collections.abc import Callable

import pytest
import torch
from tiny_models import tiny_gpt2, tiny_llama

from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import FluencyTerm, PromptBatch
from fuse_repro.search import AutoDAN, PromptProblem
from fuse_repro.search.projection import starting_prompts
from fuse_repro.search.unread import Opening


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
def test_autodan_grows_a_prompt_from_nothing_and_its_likelihood_is_that_of_the_text(
    make: Callable[[], CausalLM],
) -> None:
    lm = make()
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm)}, {"fluency": 1.0})
    search = AutoDAN(candidates=16, beam=3, max_new_tokens=4, stop="never", gradient_weight=0.0)
    found = search.search(PromptProblem(lm, objective, "", {}))
    assert len(found.best.ids) in range(1, 5)
    for beam in found.steps:
        for hypothesis in beam:
            alone = FluencyTerm(lm)(PromptBatch([hypothesis.text]))
            assert hypothesis.terms["fluency"]["raw"] == pytest.approx(float(alone[0]), abs=1e-4)


def test_a_first_token_is_drawn_from_what_follows_the_token_that_begins_a_text() -> None:
    lm = tiny_gpt2()
    assert Opening.fits(lm, ())
    state = Opening.of(lm)
    begin = torch.tensor([[lm.tokenizer.begin_id]])
    assert torch.equal(state.log_probs, lm.start(begin).log_probs)
    later = state.advance(torch.tensor([0, 0]), torch.tensor([5, 9]))
    assert torch.equal(later.log_probs, lm.start(torch.tensor([[5], [9]])).log_probs)


def test_fixed_length_prompts_are_drawn_from_nothing() -> None:
    lm = tiny_gpt2()
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm)}, {"fluency": 1.0})
    problem = PromptProblem(lm, objective, "", {})
    drawn = [
        starting_prompts(problem, 2, 4, "likely", torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(ids) == 4 for ids in drawn[0])
