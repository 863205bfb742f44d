"""GCG, PEZ, random search and AutoDAN behind one interface: guarantees, budgets, and that they find something."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from test_autodan import make_problem
from tiny_models import tiny_gemma3, tiny_gpt2

from fuse_repro.errors import UsageError
from fuse_repro.models.metering import metering
from fuse_repro.objectives import MultiObjectiveLoss, PromptBatch, prompt_nll
from fuse_repro.search import (
    GASLITE,
    GCG,
    PEZ,
    AutoDAN,
    AutoPrompt,
    Constraints,
    Hypothesis,
    Optimizer,
    PromptProblem,
    RandomSearch,
)
from fuse_repro.search.candidates import survivors
from fuse_repro.search.metering import counting
from fuse_repro.search.projection import project, starting_prompts
from fuse_repro.search.substitution import substitutions
from fuse_repro.search.token_gradients import token_gradients

FIXED: dict[str, Optimizer] = {
    "gcg": GCG(tokens=4, candidates=12, top_k=20, steps=5),
    "gaslite": GASLITE(tokens=4, averaged=3, flips=3, candidates=8, steps=4),
    "autoprompt": AutoPrompt(tokens=4, candidates=10, steps=6),
    "pez": PEZ(tokens=4, steps=30, restarts=2),
    "l0": RandomSearch(tokens=4, candidates=6, steps=8, replace=2),
    "l2": RandomSearch(tokens=4, candidates=6, steps=8, neighbourhood="l2"),
}
ALL = FIXED | {"autodan": AutoDAN(candidates=12, beam=2, max_new_tokens=4, stop="never")}


@pytest.fixture(scope="module", params=[tiny_gpt2, tiny_gemma3])
def problem(request: pytest.FixtureRequest) -> PromptProblem:
    return make_problem(request.param())


@pytest.mark.parametrize("name", FIXED)
def test_prompts_survive_have_their_length_and_their_true_objective(
    problem: PromptProblem, name: str
) -> None:
    tokenizer, prefix = problem.lm.tokenizer, problem.prefix_ids()
    found = FIXED[name].search(problem)
    hypotheses = [found.best, *(h for step in found.steps for h in step)]
    values = problem.objective(PromptBatch([h.text for h in hypotheses], problem.targets))
    for row, hypothesis in enumerate(hypotheses):
        assert survivors([hypothesis.ids], tokenizer) == [(hypothesis.ids, hypothesis.text)]
        assert len(hypothesis.ids) == len(prefix) + 4
        assert hypothesis.ids[: len(prefix)] == prefix
        assert tokenizer.special_ids.isdisjoint(hypothesis.ids)
        assert hypothesis.objective == pytest.approx(float(values.total[row]), abs=1e-3)
        assert hypothesis.objective == pytest.approx(
            sum(term["weighted"] for term in hypothesis.terms.values()), abs=1e-3
        )
    assert found.best.objective <= min(h.objective for h in hypotheses)


@pytest.mark.parametrize("name", FIXED)
def test_a_search_improves_on_where_it_starts(problem: PromptProblem, name: str) -> None:
    found = FIXED[name].search(problem)
    assert found.best.objective < found.steps[0][0].objective


@pytest.mark.parametrize("name", ALL)
def test_the_budget_is_kept_and_what_was_computed_is_counted(problem: PromptProblem, name: str) -> None:
    seen: Counter[str] = Counter()
    handle = problem.objective.register_forward_pre_hook(lambda _, given: note(seen, *given))
    try:
        found = replace(ALL[name], max_evaluations=17).search(problem)  # type: ignore[type-var]
    finally:
        handle.remove()
    assert found.evaluations == seen["prompts"] <= 17
    assert found.gradients == seen["gradients"]
    assert (found.gradients > 0) == ALL[name].uses_gradients
    if name != "pez":
        assert found.evaluations == 17


@pytest.mark.parametrize("name", ALL)
def test_a_search_ends_with_the_step_that_reaches_its_operations(problem: PromptProblem, name: str) -> None:
    steps: list[int] = []
    with metering() as whole:
        free = ALL[name].search(problem, on_step=lambda beam: steps.append(whole.flops))
    bound = float(steps[1])
    with metering() as spent:
        found = replace(ALL[name], max_flops=bound).search(problem)  # type: ignore[type-var]
    assert spent.flops == steps[1]
    assert found.steps == free.steps[: len(found.steps)]
    with metering() as least:
        replace(ALL[name], max_flops=1.0).search(problem)  # type: ignore[type-var]
    assert least.flops == steps[0], "one step is always taken"


@pytest.mark.parametrize("name", ALL)
def test_a_search_ends_with_the_step_in_which_its_seconds_are_gone(
    problem: PromptProblem, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("fuse_repro.search.metering.time.monotonic", lambda: clock[0])
    free = ALL[name].search(problem)
    steps: list[float] = []

    def tick(beam: object) -> None:
        clock[0] += 1.0
        steps.append(clock[0])

    found = replace(ALL[name], max_seconds=2.0).search(problem, on_step=tick)  # type: ignore[type-var]
    assert len(steps) == 2
    assert found.steps == free.steps[: len(found.steps)]


def note(seen: Counter[str], batch: PromptBatch) -> None:
    seen["prompts"] += len(batch.texts) if batch.slot is None else 0
    seen["gradients"] += len(batch.texts) if batch.embeddings is not None else 0


@pytest.mark.parametrize("name", FIXED)
def test_no_prompt_is_evaluated_twice_without_its_gradient(problem: PromptProblem, name: str) -> None:
    seen: Counter[str] = Counter()

    def remember(_: object, given: tuple[PromptBatch]) -> None:
        if given[0].embeddings is None:
            seen.update(given[0].texts)

    handle = problem.objective.register_forward_pre_hook(remember)
    try:
        FIXED[name].search(problem)
    finally:
        handle.remove()
    assert max(seen.values(), default=1) == 1


@pytest.mark.parametrize("name", FIXED)
def test_the_seed_decides_everything(problem: PromptProblem, name: str) -> None:
    def run(seed: int) -> tuple[Hypothesis, ...]:
        torch.manual_seed(seed + torch.initial_seed() % 7)  # the global generator must not matter
        found = replace(FIXED[name], seed=seed, steps=4).search(problem)  # type: ignore[type-var]
        return (found.best, *(step[0] for step in found.steps))

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_gcg_changes_one_token_a_step_at_places_drawn_uniformly(problem: PromptProblem) -> None:
    found = GCG(tokens=4, candidates=12, top_k=20, steps=6).search(problem)
    for before, after in zip(found.steps, found.steps[1:], strict=False):
        pairs = zip(before[0].ids, after[0].ids, strict=True)
        assert sum(old != new for old, new in pairs) == 1
    tokenizer = problem.lm.tokenizer
    (prompt,) = starting_prompts(problem, 1, 4, "random", torch.Generator().manual_seed(0))
    words = [ids[0] for ids in tokenizer.word_ids(["a", "cat", "dog", "the", "on"]) if len(ids) == 1]
    tokens = torch.tensor(words).expand(4, -1)
    permitted = Constraints().of(problem, 4)
    places: Counter[int] = Counter()
    for seed in range(150):
        drawn = substitutions(prompt, tokens, permitted, 2, torch.Generator().manual_seed(seed))
        for ids in drawn:
            changed = [place for place in range(len(ids)) if ids[place] != prompt[place]]
            assert len(changed) == 1
            places[changed[0]] += 1
    expected = sum(places.values()) / 4
    assert sorted(places) == list(range(len(prompt) - 4, len(prompt)))
    assert all(abs(count - expected) < 0.35 * expected for count in places.values())


def test_autoprompt_changes_one_token_a_step_and_never_for_a_worse_one(problem: PromptProblem) -> None:
    found = AutoPrompt(tokens=4, candidates=10, steps=12).search(problem)
    assert len(found.steps) > 2
    for before, after in pairwise(found.steps):
        assert sum(old != new for old, new in zip(before[0].ids, after[0].ids, strict=True)) == 1
        assert after[0].objective < before[0].objective


def test_gaslite_changes_several_tokens_a_step_and_never_for_a_worse_one(problem: PromptProblem) -> None:
    search = GASLITE(tokens=5, averaged=3, flips=4, candidates=10, steps=5)
    found = search.search(problem)
    changed = [
        sum(old != new for old, new in zip(before[0].ids, after[0].ids, strict=True))
        for before, after in pairwise(found.steps)
    ]
    assert max(changed) > 1
    assert max(changed) <= search.flips
    objectives = [step[0].objective for step in found.steps]
    assert objectives == sorted(objectives, reverse=True)


def test_gaslite_visits_places_with_what_was_exchanged_before(problem: PromptProblem) -> None:
    """With every token a candidate, one flip at one place is the best of all tokens there."""
    tokenizer = problem.lm.tokenizer
    found = GASLITE(tokens=1, averaged=1, flips=1, candidates=tokenizer.vocab_size, steps=2).search(problem)
    prefix = problem.prefix_ids()
    every = [(*prefix, t) for t in range(tokenizer.vocab_size) if t not in tokenizer.special_ids]
    texts = [text for _, text in survivors(every, tokenizer)]
    ids = torch.tensor([ids for ids, _ in survivors(every, tokenizer)])
    nll, scored = prompt_nll(problem.lm, ids.tolist())
    totals = problem.objective(PromptBatch(texts, problem.targets, nll, scored)).total
    assert found.best.objective == pytest.approx(float(totals.min()), abs=1e-4)


def test_the_mean_of_rows_is_scored_as_each_row_by_itself(problem: PromptProblem) -> None:
    prompts = starting_prompts(problem, 3, 4, "likely", torch.Generator().manual_seed(3))
    gradients = token_gradients(problem, prompts)
    places = [len(prompts[0]) - 1, len(prompts[0]) - 3]
    each = torch.stack([gradients.scores(row, places) for row in (0, 2)]).mean(0)
    torch.testing.assert_close(sum(gradients.score_parts([0, 2], places)), each, atol=1e-4, rtol=1e-4)


def test_projecting_a_prompts_own_embeddings_gives_the_prompt(problem: PromptProblem) -> None:
    prompts = starting_prompts(problem, 3, 4, "likely", torch.Generator().manual_seed(3))
    vectors = problem.lm.embed(torch.tensor([ids[-4:] for ids in prompts]))
    assert project(problem, 2.5 * vectors) == prompts


def test_likely_starts_are_draws_from_the_language_model() -> None:
    problem = make_problem(tiny_gpt2())
    lm = problem.lm
    prompts = starting_prompts(problem, 400, 1, "likely", torch.Generator().manual_seed(0))
    drawn = Counter(ids[-1] for ids in prompts)
    state = lm.start(torch.tensor([[*lm.tokenizer.prefix_ids, *problem.prefix_ids()]]))
    kept = {
        ids[-1]
        for ids, _ in survivors(
            [(*problem.prefix_ids(), t) for t in range(lm.tokenizer.vocab_size)], lm.tokenizer
        )
    }
    kept -= lm.tokenizer.special_ids
    probs = state.log_probs[0].exp()
    total = sum(float(probs[t]) for t in kept)
    mean = sum(float(probs[t]) / total * float(probs[t]) for t in kept)
    seen = sum(float(probs[t]) * count for t, count in drawn.items()) / 400
    uniform = total / len(kept)
    assert seen == pytest.approx(mean, abs=3 * abs(mean - uniform) + 1e-3)
    assert set(drawn) <= kept


def test_uniform_cost_extends_the_best_prompt_whatever_its_length(problem: PromptProblem) -> None:
    search = AutoDAN(candidates=10, beam=4, max_new_tokens=3, stop="never", frontier="uniform_cost")
    found = search.search(problem)
    longest = len(problem.prefix_ids()) + 3
    assert len(found.steps) <= 12
    for before, after in zip(found.steps, found.steps[1:], strict=False):
        assert len(after) <= 4
        extendable = [h for h in before if len(h.ids) < longest]
        parents = {h.ids[:-1] for h in after} - {h.ids[:-1] for h in before}
        assert parents <= {extendable[0].ids}
        for hypothesis in after:
            parent = before[hypothesis.parent]
            assert hypothesis.ids in (parent.ids, (*parent.ids, hypothesis.ids[-1]))
    assert max(len(h.ids) for h in found.steps[-1]) <= longest
    for hypothesis in found.steps[-1]:
        true = problem.objective(PromptBatch([hypothesis.text], problem.targets)).total
        assert hypothesis.objective == pytest.approx(float(true), abs=1e-3)


def test_greedy_is_a_beam_of_one(problem: PromptProblem) -> None:
    greedy = AutoDAN(candidates=10, beam=5, max_new_tokens=3, frontier="greedy").search(problem)
    assert greedy == AutoDAN(candidates=10, beam=1, max_new_tokens=3).search(problem)


def test_one_prompt_for_several_texts_has_their_mean_distance(problem: PromptProblem) -> None:
    """The mean of unit targets is a target whose distance is the mean distance."""
    term = problem.objective.terms["text"]
    targets = torch.stack([term.target(text) for text in ("A cat on a table.", "Coffee and cake.")])
    batch = ["An image of a dog", "An image of the coffee"]
    each = [term(PromptBatch(batch, {"text": target})) for target in targets]
    together = term(PromptBatch(batch, {"text": targets.mean(0)}))
    torch.testing.assert_close(together, (each[0] + each[1]) / 2)


def test_counting_ends_with_its_block(problem: PromptProblem) -> None:
    objective: MultiObjectiveLoss = problem.objective
    with counting(objective) as counts:
        objective(PromptBatch(["An image of a cat"], problem.targets))
    objective(PromptBatch(["An image of a cat"], problem.targets))
    assert (counts.evaluations, counts.gradients) == (1, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GCG(tokens=0), r"optimizer\.tokens=0"),
        (lambda: GCG(top_k=0), r"optimizer\.top_k"),
        (lambda: GCG(max_evaluations=0), r"optimizer\.max_evaluations=0.*null"),
        (lambda: GASLITE(averaged=0), r"optimizer\.averaged=0 is not allowed: at least 1"),
        (lambda: GASLITE(tokens=4, flips=5), r"optimizer\.flips=5.*tokens=4"),
        (lambda: GASLITE(max_seconds=0), r"optimizer\.max_seconds=0.*above 0, such as 60; or null"),
        (lambda: AutoPrompt(candidates=0), r"optimizer\.candidates=0"),
        (lambda: AutoDAN(max_seconds=float("nan")), r"optimizer\.max_seconds=nan"),
        (lambda: PEZ(learning_rate=0.0), r"optimizer\.learning_rate"),
        (lambda: PEZ(start="best"), r"optimizer\.start.*likely, random"),
        (lambda: RandomSearch(neighbourhood="l1"), r"optimizer\.neighbourhood.*l0, l2"),
        (lambda: RandomSearch(tokens=2, replace=3), r"optimizer\.replace=3.*tokens=2"),
        (lambda: AutoDAN(frontier="dfs"), r"optimizer\.frontier.*beam, greedy, uniform_cost"),
        (lambda: AutoDAN(frontier="uniform_cost", beam=0), r"optimizer\.beam=0"),
        (lambda: AutoDAN(max_evaluations=0), r"optimizer\.max_evaluations"),
        (lambda: AutoDAN(max_flops=0), r"optimizer\.max_flops=0 is not allowed: .*above 0.*or null"),
        (lambda: AutoDAN(max_flops=float("nan")), r"optimizer\.max_flops=nan"),
        (lambda: GCG(max_flops=-1e9), r"optimizer\.max_flops=-1000000000\.0"),
        (lambda: PEZ(max_flops=float("inf")), r"optimizer\.max_flops=inf.*null for no bound"),
        (lambda: RandomSearch(max_flops="many"), r"optimizer\.max_flops='many'"),  # type: ignore[arg-type]
    ],
)
def test_settings_out_of_range(make: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()  # type: ignore[operator]
