"""A guide's gradients propose candidates, and the objective judges them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from test_autodan import make_problem
from test_probing import copied
from tiny_models import tiny_gpt2

from fuse_repro.search import GASLITE, GCG, PEZ, AutoDAN, AutoPrompt, Optimizer, PromptProblem
from fuse_repro.search.token_gradients import token_gradients

SEARCHES: dict[str, Optimizer] = {
    "gcg": GCG(tokens=4, candidates=20, top_k=30, steps=4),
    "gaslite": GASLITE(tokens=4, averaged=3, flips=3, candidates=20, steps=3),
    "autoprompt": AutoPrompt(tokens=4, candidates=20, steps=5),
    "pez": PEZ(tokens=4, steps=4),
    "autodan": AutoDAN(max_new_tokens=4, candidates=20, beam=2),
}


@pytest.fixture(scope="module")
def problem() -> PromptProblem:
    return make_problem(tiny_gpt2())


@pytest.mark.parametrize("name", SEARCHES)
def test_a_guide_that_is_the_objective_changes_nothing(problem: PromptProblem, name: str) -> None:
    guided = replace(problem, guide=replace(problem, objective=copied(problem.objective)))
    first, second = (SEARCHES[name].search(one) for one in (problem, guided))
    assert [h.ids for (h, *_) in second.steps] == [h.ids for (h, *_) in first.steps]
    assert second.best.objective == pytest.approx(first.best.objective, rel=1e-5)
    assert second.gradients == first.gradients


@contextmanager
def batches(problem: PromptProblem) -> Iterator[list[bool]]:
    """Of every call of an objective, whether gradients were asked for."""
    seen: list[bool] = []
    handle = problem.objective.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].embeddings is not None)
    )
    yield seen
    handle.remove()


@pytest.mark.parametrize("name", SEARCHES)
def test_a_guide_gives_the_gradients_and_the_objective_the_values(problem: PromptProblem, name: str) -> None:
    guide = replace(problem, objective=copied(problem.objective, "text"))
    with batches(problem) as judged, batches(guide) as guided:
        found = SEARCHES[name].search(replace(problem, guide=guide))
    assert judged
    assert not any(judged)
    assert guided
    assert all(guided)
    assert set(found.best.terms) == set(problem.objective.terms)


def test_candidates_are_ranked_by_the_guides_gradient(problem: PromptProblem) -> None:
    guide = replace(problem, objective=copied(problem.objective, "text"))
    prompt = tuple(problem.lm.tokenizer.encode(["a bird on a tree"])[0])
    own = token_gradients(guide, [prompt]).scores(0, [2])
    other = token_gradients(problem, [prompt]).scores(0, [2])
    assert not own.equal(other)
    assert token_gradients(replace(problem, guide=guide).guiding, [prompt]).scores(0, [2]).equal(own)
