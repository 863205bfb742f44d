"""Refinement after growth: what a step does, that it only improves, and that every bound ends it."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from test_autodan import make_problem
from tiny_models import tiny_gemma3, tiny_gpt2

from fuse_repro.errors import UsageError
from fuse_repro.models.metering import metering
from fuse_repro.objectives import PromptBatch, prompt_nll
from fuse_repro.search import AutoDAN, Constraints, PromptProblem, Refinement
from fuse_repro.search.candidates import survivors
from fuse_repro.search.edits import deletions, exchanges, insertions, joined, moves, without, words_of
from fuse_repro.search.frontier import unlike
from fuse_repro.search.likely import likely_tokens
from fuse_repro.search.metering import Counts
from fuse_repro.search.problem import Hypothesis
from fuse_repro.search.regrowth import regrown
from fuse_repro.search.trials import Trials
from fuse_repro.search.workbench import Workbench

REFINED = Refinement(steps=5, buffer=4, averaged=3, exchanges=12, insertions=4, moves=4, combined=3)
REGROWING = replace(REFINED, patience=1, regrown=2, regrown_averaged=2, regrown_insertions=4)
WHOLE = Constraints(whole_words=True)  # so that every token is a word
SEARCH = AutoDAN(candidates=12, beam=2, max_new_tokens=4, stop="never", refinement=REFINED)


@pytest.fixture(scope="module", params=[tiny_gpt2, tiny_gemma3])
def problem(request: pytest.FixtureRequest) -> PromptProblem:
    return make_problem(request.param())


def test_growth_is_what_it_is_without_refinement_and_what_follows_only_improves(
    problem: PromptProblem,
) -> None:
    grown = replace(SEARCH, refinement=None).search(problem)
    found = SEARCH.search(problem)
    assert found.steps[:4] == grown.steps
    assert 4 < len(found.steps) <= 4 + REFINED.steps
    best = [step[0].objective for step in found.steps[3:]]
    assert best == sorted(best, reverse=True)
    assert best[-1] < best[0]
    assert found.best == found.steps[-1][0]


def test_every_prompt_survives_is_short_enough_and_has_its_true_objective(problem: PromptProblem) -> None:
    tokenizer, prefix = problem.lm.tokenizer, problem.prefix_ids()
    found = SEARCH.search(problem)
    hypotheses = [h for step in found.steps[4:] for h in step]
    nll, scored = prompt_nll(problem.lm, [found.best.ids])
    values = problem.objective(PromptBatch([found.best.text], problem.targets, nll, scored))
    assert found.best.objective == pytest.approx(float(values.total), abs=1e-3)
    lengths = {len(h.ids) for h in hypotheses}
    assert max(lengths) <= len(prefix) + 4
    for hypothesis in hypotheses:
        assert survivors([hypothesis.ids], tokenizer) == [(hypothesis.ids, hypothesis.text)]
        assert hypothesis.ids[: len(prefix)] == prefix


def test_the_buffer_holds_the_best_and_knows_where_each_came_from(problem: PromptProblem) -> None:
    steps = SEARCH.search(problem).steps[3:]
    for before, after in pairwise(steps[1:]):
        assert len(after) <= REFINED.buffer
        assert [h.objective for h in after] == sorted(h.objective for h in after)
        assert len({h.ids for h in after}) == len(after)
        known = [h.ids for h in before]
        for hypothesis in after:
            assert hypothesis.parent < len(before)
            if hypothesis.ids in known:
                assert known[hypothesis.parent] == hypothesis.ids


def test_no_prompt_is_evaluated_twice_after_growth_without_its_gradient(problem: PromptProblem) -> None:
    seen: list[str] = []

    def remember(_: object, given: tuple[PromptBatch]) -> None:
        if given[0].embeddings is None:
            seen.extend(given[0].texts)

    handle = problem.objective.register_forward_pre_hook(remember)
    try:
        SEARCH.search(problem)
    finally:
        handle.remove()
    new = seen[replace(SEARCH, refinement=None).search(problem).evaluations :]
    assert new
    assert len(new) == len(set(new))


@pytest.mark.parametrize("limit", [1, 40, 52, 80, 101])
def test_evaluations_are_bounded(problem: PromptProblem, limit: int) -> None:
    assert replace(SEARCH, max_evaluations=limit).search(problem).evaluations == limit


def test_operations_end_it_with_the_step_that_reaches_them(problem: PromptProblem) -> None:
    after: list[int] = []
    with metering() as whole:
        free = SEARCH.search(problem, on_step=lambda beam: after.append(whole.flops))
    with metering() as spent:
        found = replace(SEARCH, max_flops=float(after[5])).search(problem)
    assert spent.flops == after[5]
    assert found.steps == free.steps[:6]


def test_seconds_end_it_with_the_step_in_which_they_are_gone(
    problem: PromptProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("fuse_repro.search.metering.time.monotonic", lambda: clock[0])

    def tick(beam: object) -> None:
        clock[0] += 1.0

    assert len(replace(SEARCH, max_seconds=6.0).search(problem, on_step=tick).steps) == 6


def test_the_seed_decides_everything(problem: PromptProblem) -> None:
    def run(seed: int) -> object:
        torch.manual_seed(torch.initial_seed() % 7 + 1)  # the global generator must not matter
        return replace(SEARCH, refinement=replace(REFINED, seed=seed)).search(problem).steps

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_sentence_stays_a_sentence(problem: PromptProblem) -> None:
    found = replace(SEARCH, stop="sentence_end", max_new_tokens=5).search(problem)
    grown = replace(SEARCH, stop="sentence_end", max_new_tokens=5, refinement=None).search(problem)
    assert len(found.steps) > len(grown.steps)
    for step in found.steps[len(grown.steps) :]:
        assert all(h.text.rstrip("'\"")[-1] in ".!?" for h in step)


@pytest.mark.parametrize(
    "constraints",
    [Constraints(whole_words=True), Constraints(repeats=False), Constraints(forbidden=["the", "a"])],
)
def test_constraints_hold(problem: PromptProblem, constraints: Constraints) -> None:
    found = replace(SEARCH, constraints=constraints).search(problem)
    permitted = constraints.of(problem, 4)
    assert all(permitted.keeps(h.ids, h.text) for step in found.steps for h in step)


def test_a_prompt_may_begin_with_nothing(problem: PromptProblem) -> None:
    found = SEARCH.search(replace(problem, prefix=""))
    assert len(found.steps) > 4
    for hypothesis in found.steps[-1]:
        assert survivors([hypothesis.ids], problem.lm.tokenizer) == [(hypothesis.ids, hypothesis.text)]
        assert 1 <= len(hypothesis.ids) <= 4


def _hypothesis(text: str, objective: float) -> Hypothesis:
    return Hypothesis((), text, 0.0, 1, objective, {})


def test_the_buffer_keeps_prompts_that_differ_in_words_and_not_in_case_or_order() -> None:
    texts = ["A cow walks", "a Cow walks", "walks a cow", "A cow walks here", "A cow runs", "Dogs run"]
    pool = [_hypothesis(text, number) for number, text in enumerate(texts)]
    assert [h.text for h in unlike(pool, 9, 1)] == [texts[0], *texts[3:]]
    assert [h.text for h in unlike(pool, 9, 2)] == [texts[0], texts[5]]
    assert [h.text for h in unlike(reversed(pool), 2, 1)] == [texts[0], texts[3]]


def test_an_exchange_is_more_than_another_case(problem: PromptProblem) -> None:
    bench = _bench(problem, replace(SEARCH, refinement=None).search(problem).best.ids)
    scores = bench.read(2)
    assert scores is not None
    new = scores.exchanges(40)
    assert new
    words = bench.trials.permitted.words
    for ids in new:
        ((old, token),) = [pair for pair in zip(bench.prompt, ids, strict=True) if pair[0] != pair[1]]
        assert bench._reading(old) != bench._reading(token)
        assert words[token] == words[token].casefold().strip()


def test_what_the_language_model_expects_is_put_in_or_stands_instead(problem: PromptProblem) -> None:
    lm, prompt = problem.lm, replace(SEARCH, refinement=None).search(problem).best.ids
    bench = _bench(problem, prompt[:-1])
    begin, permitted = len(problem.prefix_ids()), bench.trials.permitted
    tokens = likely_tokens(lm, bench.prompt, permitted, 3)
    assert list(tokens) == list(range(begin, len(prompt)))
    front = lm.tokenizer.prefix_ids or [lm.tokenizer.begin_id]
    log_probs = lm.start(torch.tensor([[*front, *bench.prompt]])).log_probs[0]
    expected = permitted.best(-log_probs[None], 3)[0].tolist()
    assert tokens[len(prompt) - 1] == expected
    longer = bench.likely(2)
    assert {len(ids) for ids in longer} == {len(prompt)}
    assert (*bench.prompt, expected[0]) in longer or not bench.legal([(*bench.prompt, expected[0])])
    assert all(any(ids[:n] + ids[n + 1 :] == bench.prompt for n in range(begin, len(ids))) for ids in longer)
    instead = bench.at(prompt).likely(1)
    assert 0 < len(instead) <= len(prompt) - begin
    assert all(sum(a != b for a, b in zip(ids, prompt, strict=True)) == 1 for ids in instead)
    assert bench.likely(0) == []


def test_nothing_is_expected_where_nothing_stands_in_front(problem: PromptProblem) -> None:
    free = replace(problem, prefix="")
    permitted = Constraints().of(free, 4)
    (ids,) = problem.lm.tokenizer.encode(["the cat"])
    begins = problem.lm.tokenizer.begin_id is not None or bool(problem.lm.tokenizer.prefix_ids)
    assert (0 in likely_tokens(problem.lm, tuple(ids), permitted, 2)) == begins


@pytest.mark.parametrize("most", [1, 2, 9])
def test_words_grow_anew_until_the_prompt_is_as_long_as_allowed(problem: PromptProblem, most: int) -> None:
    grown = replace(SEARCH, refinement=None, constraints=WHOLE).search(problem).best
    bench = _bench(problem, grown.ids)
    found = regrown(bench, most, averaged=2, insertions=4, likely=1)
    assert len(found[-1].ids) == bench.longest
    assert found[-1].ids != bench.prompt
    prefix = problem.prefix_ids()
    assert {h.ids[: len(prefix)] for h in found} == {prefix}
    assert bench.trials.knows(found[-1].ids)
    stays = len(set(found[-1].ids) & set(bench.prompt[len(prefix) :]))
    assert stays >= len(bench.words) - most
    assert regrown(bench.at(bench.prompt[: len(prefix) + 1]), most, 2, 4, 1) == []


def test_a_search_that_is_stuck_grows_words_anew(
    problem: PromptProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown: list[int] = []

    def watched(bench: Workbench, *settings: int) -> list[Hypothesis]:
        found = regrown(bench, *settings)
        grown.append(len(found))
        return found

    monkeypatch.setattr("fuse_repro.search.refinement.regrown", watched)
    search = replace(SEARCH, constraints=WHOLE, refinement=replace(REGROWING, steps=8))
    found = search.search(problem)
    assert any(grown)
    assert len(grown) <= 4  # every second step at the most
    best = [step[0].objective for step in found.steps[3:]]
    assert best == sorted(best, reverse=True)
    grown.clear()
    assert search.search(problem).steps == found.steps
    grown.clear()
    replace(search, refinement=replace(REGROWING, steps=8, patience=0)).search(problem)
    assert grown == []


@pytest.mark.parametrize("limit", [125, 163])
def test_evaluations_are_bounded_while_words_grow_anew(problem: PromptProblem, limit: int) -> None:
    search = replace(SEARCH, constraints=WHOLE, refinement=replace(REGROWING, steps=30))
    assert replace(search, max_evaluations=limit).search(problem).evaluations == limit


def test_a_sentence_stays_a_sentence_and_constraints_hold_while_words_grow_anew(
    problem: PromptProblem,
) -> None:
    constraints = Constraints(repeats=False)
    search = replace(SEARCH, stop="sentence_end", max_new_tokens=6, constraints=constraints)
    grown = replace(search, refinement=None).search(problem)
    found = replace(search, refinement=replace(REGROWING, steps=8)).search(problem)
    permitted = constraints.of(problem, 6)
    for step in found.steps[len(grown.steps) :]:
        assert all(h.text.rstrip("'\"")[-1] in ".!?" and permitted.keeps(h.ids, h.text) for h in step)


def _bench(problem: PromptProblem, prompt: tuple[int, ...]) -> Workbench:
    trials = Trials(problem, Counts())
    longest = len(problem.prefix_ids()) + 4
    generator = torch.Generator().manual_seed(0)
    return Workbench(
        trials,
        prompt,
        longest,
        lambda text: True,
        lambda texts: SEARCH.in_context(problem, texts),
        1.0,
        generator,
    )


def test_words_are_edited_as_a_whole() -> None:
    joins = torch.tensor([False, False, False, True, False])
    prompt = (4, 0, 3, 1, 2)  # a prefix, a word of two tokens, two words
    words = words_of(prompt, 1, joins)
    assert words == [(1, 3), (3, 4), (4, 5)]
    assert deletions(prompt, words) == [
        (4, 1, 2),
        (4, 0, 3, 2),
        (4, 0, 3, 1),
        (4, 3, 1, 2),
        (4, 0, 1, 2),
    ]
    assert exchanges(prompt, 3, [1, 0]) == [(4, 0, 3, 0, 2)]
    assert insertions(prompt, [1, 3], [2, 1]) == [(4, 2, 0, 3, 1, 2), (4, 0, 3, 1, 1, 2)]
    every = moves(prompt, words, 99, torch.Generator().manual_seed(0))
    assert set(every) == {(4, 1, 0, 3, 2), (4, 1, 2, 0, 3), (4, 0, 3, 2, 1), (4, 2, 0, 3, 1)}
    assert without(prompt, [(1, 3), (4, 5)]) == (4, 1)
    assert without(prompt, []) == prompt
    assert moves(prompt, words[:1], 9, torch.Generator()) == []
    assert len(moves(prompt, words, 2, torch.Generator().manual_seed(0))) <= 2


def test_exchanges_are_made_together_best_first() -> None:
    prompt = (0, 1, 2, 3)
    edited = [(0, 9, 2, 3), (0, 1, 2, 8), (0, 7, 2, 3), (6, 1, 2, 3)]
    assert joined(prompt, edited) == [(0, 9, 2, 8), (6, 9, 2, 8)]
    assert joined(prompt, edited[:1]) == joined(prompt, []) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, r"refinement\.steps=0 is not allowed: at least 1"),
        ({"buffer": 0}, r"refinement\.buffer=0"),
        ({"averaged": -1}, r"refinement\.averaged=-1"),
        ({"zeroth_weight": -0.5}, r"refinement\.zeroth_weight=-0\.5 is not allowed: at least 0"),
        ({"moves": -1}, r"refinement\.moves=-1"),
        ({"patience": -1}, r"refinement\.patience=-1 is not allowed: at least 0"),
        ({"likely": -1}, r"refinement\.likely=-1"),
        ({"regrown": 0}, r"refinement\.regrown=0 is not allowed: at least 1"),
        ({"unlike": 0}, r"refinement\.unlike=0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Refinement(**settings)


def test_refinement_needs_gradients() -> None:
    with pytest.raises(UsageError, match=r"optimizer\.refinement=.*gradient_weight above 0"):
        AutoDAN(gradient_weight=0.0, refinement=REFINED)
    with pytest.raises(UsageError, match=r"optimizer\.refinement=-1 is not allowed: null, or"):
        AutoDAN(refinement=-1)  # type: ignore[arg-type]
