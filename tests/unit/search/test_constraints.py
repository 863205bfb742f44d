"""What may stand in a prompt: every optimizer keeps to it, and says at once where nothing is left."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from test_autodan import make_problem
from tiny_models import tiny_gpt2

from fuse_repro.errors import UsageError
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.objectives import FluencyTerm
from fuse_repro.search import (
    GASLITE,
    GCG,
    PEZ,
    AutoDAN,
    AutoPrompt,
    Constraints,
    PromptProblem,
    RandomSearch,
)
from fuse_repro.search.candidates import propose
from fuse_repro.search.projection import starting_prompts

SEARCHES: dict[str, Any] = {
    "gcg": GCG(tokens=3, candidates=6, top_k=12, steps=3, start="random"),
    "gaslite": GASLITE(tokens=3, averaged=2, flips=2, candidates=6, steps=3, start="random"),
    "autoprompt": AutoPrompt(tokens=3, candidates=6, steps=4, start="random"),
    "pez": PEZ(tokens=3, steps=6, start="random"),
    "l0": RandomSearch(tokens=3, candidates=4, steps=4, start="random"),
    "l2": RandomSearch(tokens=3, candidates=4, steps=4, neighbourhood="l2", start="random"),
    "autodan": AutoDAN(candidates=8, beam=2, max_new_tokens=3),
}
RULES = {
    "ascii": Constraints(printable_ascii=True),
    "allowed": Constraints(allowed=["the", "Of", " on", "a", ".", "and", "in"]),
    "forbidden": Constraints(forbidden=["the", "of", "e", "."]),
    "whole": Constraints(whole_words=True),
    "once": Constraints(allowed=["the", "of", "on", "a", "in", "and"], repeats=False),
}


@pytest.fixture(scope="module")
def problem() -> PromptProblem:
    return make_problem(tiny_gpt2())


def written(problem: PromptProblem, ids: tuple[int, ...]) -> list[str]:
    """What each token behind the prefix adds to the text."""
    texts = problem.lm.tokenizer.decode([ids[:end] for end in range(len(problem.prefix_ids()), len(ids) + 1)])
    return [after[len(before) :] for before, after in pairwise(texts)]


def breaks(rule: str, pieces: list[str]) -> bool:
    """Whether the tokens of a prompt break a rule, found without any of the code under test."""
    words = [piece.strip().lower() for piece in pieces]
    if rule == "ascii":
        return any(not (32 <= ord(character) <= 126) for piece in pieces for character in piece)
    if rule == "allowed":
        return not set(words) <= {"the", "of", "on", "a", ".", "and", "in"}
    if rule == "forbidden":
        text = "".join(pieces).lower()
        return bool({"the", "of", "e", "."} & {*words, *text.split()})
    if rule == "whole":
        return any(piece[0] != " " and any(map(str.isalnum, piece)) for piece in pieces)
    return len(set(words)) < len(words)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SEARCHES)
def test_every_prompt_keeps_to_the_rule(problem: PromptProblem, name: str, rule: str) -> None:
    found = replace(SEARCHES[name], constraints=RULES[rule]).search(problem)
    for hypothesis in (found.best, *(h for step in found.steps for h in step)):
        assert not breaks(rule, written(problem, hypothesis.ids)), hypothesis.text


@pytest.mark.parametrize("rule", RULES)
def test_random_prompts_without_the_rule_break_it(problem: PromptProblem, rule: str) -> None:
    prompts = starting_prompts(problem, 60, 6, "random", torch.Generator().manual_seed(0))
    assert any(breaks(rule, written(problem, ids)) for ids in prompts)


def test_no_rule_changes_nothing(problem: PromptProblem) -> None:
    permitted = Constraints().of(problem, 3)
    scores = torch.randn(2, problem.lm.tokenizer.vocab_size)
    assert permitted.masked(scores, [problem.prefix_ids()] * 2) is scores
    assert set(permitted.tokens).isdisjoint(problem.lm.tokenizer.special_ids)


def test_a_word_of_several_tokens_is_forbidden_as_a_whole(problem: PromptProblem) -> None:
    tokenizer, prefix = problem.lm.tokenizer, problem.prefix_ids()
    (whole,) = tokenizer.encode([f"{problem.prefix} snowdrift"])
    assert len(whole) > len(prefix) + 1
    permitted = Constraints(forbidden=["Snowdrift"]).of(problem, 1)
    scores = torch.zeros(1, tokenizer.vocab_size)
    scores[0, whole[-1]] = 1.0
    (best,) = propose(scores, [tuple(whole[:-1])], tokenizer, 1)
    assert best.token == whole[-1]
    (best,) = propose(scores, [tuple(whole[:-1])], tokenizer, 1, permitted.keeps)
    assert best.token != whole[-1]


def test_the_prefix_is_not_asked(problem: PromptProblem) -> None:
    found = AutoDAN(
        candidates=8, beam=1, max_new_tokens=2, constraints=Constraints(forbidden=["image"])
    ).search(problem)
    assert found.best.text.startswith("An image of")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"allowed": []},
            r"constraints\.allowed=\[\] is not allowed: a list of single words.*or null for all",
        ),
        ({"allowed": "dog"}, r"constraints\.allowed='dog' is not allowed: a list"),
        ({"forbidden": ["two words"]}, r"constraints\.forbidden=\['two words'\] is not allowed"),
        ({"forbidden": [""]}, r"constraints\.forbidden=\[''\]"),
    ],
)
def test_lists_that_cannot_be_used(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Constraints(**settings)


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        (Constraints(allowed=["the"], forbidden=["THE"]), "leave 0 different words, where a prompt needs 1"),
        (
            Constraints(allowed=["the", "of"], repeats=False),
            "leave 2 different words, where a prompt needs 3",
        ),
        (Constraints(allowed=["the", "snowdrift"]), "not one token of .*: snowdrift .1 in all."),
    ],
)
def test_nothing_left_is_said_before_anything_is_computed(
    problem: PromptProblem, name: str, constraints: Constraints, said: str
) -> None:
    calls: list[object] = []
    handle = problem.objective.register_forward_pre_hook(lambda *given: calls.append(given))
    try:
        with pytest.raises(UsageError, match=said) as caught:
            replace(SEARCHES[name], constraints=constraints).search(problem)
    finally:
        handle.remove()
    assert not calls
    assert "\n" not in str(caught.value)


def test_special_tokens_are_never_promising_even_without_a_constraint() -> None:
    lm = tiny_gpt2()
    permitted = Constraints().of(
        PromptProblem(lm, MultiObjectiveLoss({"fluency": FluencyTerm(lm)}), "", {}), 1
    )
    scores = torch.zeros(2, lm.tokenizer.vocab_size)
    special = sorted(lm.tokenizer.special_ids)
    scores[:, special] = -9.0  # the least predicted objective of all
    found = permitted.best(scores, 5)
    assert found.shape == (2, 5)
    assert not set(found.flatten().tolist()) & set(special)
