"""Prompts that begin with nothing: a search draws and scores their first token as a text's first token is scored."""

from collections.abc import Callable

import pytest
import torch
from tiny_models import tiny_gpt2, tiny_llama

from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import FluencyTerm, PromptBatch
from fuse_repro.search import AutoDAN, PromptProblem, RandomSearch
from fuse_repro.search.projection import Drawing, starting_prompts
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


def test_prompts_are_drawn_behind_contexts_that_they_take_in_turn() -> None:
    """Behind a context a token is as probable as the model says it is there."""
    lm = tiny_gpt2()
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm)}, {"fluency": 1.0})
    contexts = ["A dog", "The train down the tracks"]
    problem = PromptProblem(lm, objective, "", {}, contexts)
    drawing = Drawing(problem, 3)
    encoded = [tuple(ids) for ids in lm.tokenizer.encode(contexts)]
    rows = [encoded[0], encoded[1], encoded[0]]
    first = drawing.log_probs([(), (), ()])
    second = drawing.log_probs([(5,), (7,), (9,)])
    for row, (context, token) in enumerate(zip(rows, (5, 7, 9), strict=True)):
        torch.testing.assert_close(first[row], lm.start(torch.tensor([context])).log_probs[0])
        torch.testing.assert_close(second[row], lm.start(torch.tensor([[*context, token]])).log_probs[0])


def test_a_search_begins_with_the_best_of_several_starts() -> None:
    lm = tiny_gpt2()
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm)}, {"fluency": 1.0})
    problem = PromptProblem(lm, objective, "", {})
    seen: list[float] = []
    search = RandomSearch(tokens=4, starts=16, steps=1, candidates=1, seed=0)
    search.search(problem, lambda beam: seen.append(beam[0].objective))
    drawn = starting_prompts(problem, 16, 4, "likely", torch.Generator().manual_seed(0))
    values = FluencyTerm(lm)(PromptBatch(lm.tokenizer.decode(drawn)))
    assert seen[0] == pytest.approx(float(values.min()), abs=1e-4)
