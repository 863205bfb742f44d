"""The search against brute force, against full recomputation, and against its own guarantees."""

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gemma3, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import FuseAdapterModule
from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import FluencyTerm, MultiObjectiveLoss, PromptBatch, TextMatchTerm
from fuse_repro.search import AutoDAN, Linearisation, PromptProblem, SearchResult
from fuse_repro.search.autodan import _start
from fuse_repro.search.candidates import propose
from fuse_repro.search.gradient import OpenPrompt, slot_gradients

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))


def make_problem(lm: CausalLM, text_weight: float = 20.0) -> PromptProblem:
    encoder = tiny_bert_encoder()
    adapter = FuseAdapterModule.fit(lm, encoder, WORDS)
    match = TextMatchTerm("text", encoder, adapter)
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": match}, {"text": text_weight})
    return PromptProblem(lm, objective, "An image of", {"text": match.target("A cat on a table.")})


@pytest.fixture(scope="module", params=[tiny_gpt2, tiny_gemma3])
def problem(request: pytest.FixtureRequest) -> PromptProblem:
    return make_problem(request.param())


def test_what_a_beam_says_of_its_prompts_is_what_a_full_computation_says(problem: PromptProblem) -> None:
    """The likelihood that comes for free with the candidates equals that of a forward pass of its own."""
    found = AutoDAN(candidates=20, beam=3, max_new_tokens=6, stop="never").search(problem)
    assert len(found.steps) == 6
    for beam in found.steps:
        values = problem.objective(PromptBatch([h.text for h in beam], problem.targets))
        for row, hypothesis in enumerate(beam):
            assert hypothesis.objective == pytest.approx(float(values.total[row]), abs=1e-4)
            for name in ("fluency", "text"):
                assert hypothesis.terms[name]["raw"] == pytest.approx(float(values.raw[name][row]), abs=1e-4)


def test_with_all_candidates_the_first_step_is_brute_force(problem: PromptProblem) -> None:
    tokenizer = problem.lm.tokenizer
    found = AutoDAN(candidates=tokenizer.vocab_size, beam=4, max_new_tokens=1, stop="never").search(problem)
    (prefix,) = tokenizer.encode([problem.prefix])
    texts = []
    for token in range(tokenizer.vocab_size):
        (text,) = tokenizer.decode([[*prefix, token]])
        if token not in tokenizer.special_ids and tokenizer.encode([text]) == [[*prefix, token]]:
            texts.append(text)
    texts = [text for text in texts if text.splitlines() == [text]]
    totals = problem.objective(PromptBatch(texts, problem.targets)).total
    best = totals.topk(4, largest=False)
    assert [h.text for h in found.steps[0]] == [texts[i] for i in best.indices.tolist()]


def test_hypotheses_survive_decoding_and_hold_no_special_token(problem: PromptProblem) -> None:
    tokenizer = problem.lm.tokenizer
    found = AutoDAN(candidates=30, beam=3, max_new_tokens=5, stop="never").search(problem)
    for hypothesis in (h for beam in found.steps for h in beam):
        assert tokenizer.decode([hypothesis.ids]) == [hypothesis.text]
        assert tuple(tokenizer.encode([hypothesis.text])[0]) == hypothesis.ids
        assert tokenizer.special_ids.isdisjoint(hypothesis.ids)
        assert hypothesis.text.startswith(problem.prefix)
        assert "\n" not in hypothesis.text


def test_a_beam_is_sorted_without_repetition_and_descends_from_its_parents(problem: PromptProblem) -> None:
    found = AutoDAN(candidates=30, beam=4, max_new_tokens=5).search(problem)
    for before, beam in zip(found.steps, found.steps[1:], strict=False):
        assert [h.objective for h in beam] == sorted(h.objective for h in beam)
        assert len({h.text for h in beam}) == len(beam)
        for hypothesis in beam:
            parent = before[hypothesis.parent]
            if parent.finished:
                assert hypothesis.ids == parent.ids
            else:
                assert hypothesis.ids[:-1] == parent.ids


def test_beam_one_is_greedy_and_a_wider_beam_contains_its_first_choice(problem: PromptProblem) -> None:
    greedy = AutoDAN(candidates=30, beam=1, max_new_tokens=3, stop="never").search(problem)
    wide = AutoDAN(candidates=30, beam=5, max_new_tokens=3, stop="never").search(problem)
    assert all(len(beam) == 1 for beam in greedy.steps)
    assert wide.steps[0][0] == greedy.steps[0][0]


def test_two_searches_agree_to_the_bit(problem: PromptProblem) -> None:
    search = AutoDAN(candidates=30, beam=3, max_new_tokens=4)
    assert search.search(problem) == search.search(problem)


@pytest.mark.parametrize("beam", [1, 4])
def test_the_best_sentence_is_returned_and_takes_no_place_in_the_beam(
    problem: PromptProblem, beam: int
) -> None:
    found = AutoDAN(candidates=3, beam=beam, max_new_tokens=5, patience=0).search(problem)
    assert found.best.finished
    assert found.best.text.endswith((".", "!", "?"))
    assert [len(step) for step in found.steps] == [min(3, beam) + 1] + 4 * [beam + 1]
    values = []
    for step in found.steps:
        (finished,) = [h for h in step if h.finished]
        values.append(finished.objective)
        tried = problem.objective(
            PromptBatch([f"{h.text}." for h in step if not h.finished], problem.targets)
        )
        assert found.best.objective <= float(tried.total.min()) + 1e-4 or step is found.steps[-1]
    assert values == sorted(values, reverse=True)
    assert found.best.objective == values[-1]


def test_the_search_ends_once_its_best_sentence_has_stood_for_the_patience(problem: PromptProblem) -> None:
    long = AutoDAN(candidates=5, beam=2, max_new_tokens=12, patience=0).search(problem)
    short = AutoDAN(candidates=5, beam=2, max_new_tokens=12, patience=2).search(problem)
    assert len(long.steps) == 12
    best = [next(h.text for h in step if h.finished) for step in long.steps]
    stood = [i for i in range(2, 12) if best[i] == best[i - 1] == best[i - 2]]
    assert len(short.steps) == (stood[0] + 1 if stood else 12)
    assert short.best.text == best[len(short.steps) - 1]


def test_never_stopping_returns_the_best_prompt_of_the_last_step(problem: PromptProblem) -> None:
    found = AutoDAN(candidates=30, beam=3, max_new_tokens=4, stop="never").search(problem)
    assert found.best == found.steps[-1][0]
    assert not any(h.finished for step in found.steps for h in step)


def test_slot_gradient_is_the_pullback_at_the_dummy_word(problem: PromptProblem) -> None:
    term = problem.objective.terms["text"]
    adapter, encoder = term.adapter, term.encoder
    text = f"{problem.prefix} dog"
    (target_tokens,) = encoder.tokenizer.split([text])
    embeddings = encoder.embed(torch.tensor([target_tokens.ids])).requires_grad_(True)
    mask = torch.ones(1, len(target_tokens.ids), dtype=torch.bool)
    loss = 20 * (1 - encoder(embeddings, mask) @ problem.targets["text"])
    loss.sum().backward()
    begin, end = target_tokens.spans[-1]
    word = embeddings.grad[0, begin:end]
    fitted = adapter.map((end - begin,))
    pulled = sum(word[b] @ fitted[..., b % fitted.shape[-1]].T for b in range(end - begin))
    found = slot_gradients(
        problem,
        [OpenPrompt(problem.prefix)],
        Linearisation("dummy", "dog"),
        torch.zeros(1, problem.lm.tokenizer.vocab_size),
    )
    expected = problem.lm.embedding_table() @ pulled
    torch.testing.assert_close(found.scores()[0], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.values[0], loss.detach())


def test_without_a_gradient_candidates_are_the_likeliest(problem: PromptProblem) -> None:
    tokenizer = problem.lm.tokenizer
    start = _start(problem)
    state = problem.lm.start(torch.tensor([[*tokenizer.prefix_ids, *start.ids]]))
    proposed = propose(state.log_probs, [start.ids], tokenizer, 10)
    values = [float(state.log_probs[0, c.token]) for c in proposed]
    assert values == sorted(values, reverse=True)
    assert len(proposed) == 10


def test_scores_of_minus_infinity_and_special_tokens_are_never_proposed() -> None:
    tokenizer = tiny_gpt2().tokenizer
    (prompt,) = tokenizer.encode(["An image of"])
    scores = torch.full((1, tokenizer.vocab_size), -torch.inf)
    scores[0, sorted(tokenizer.special_ids)] = 100.0
    with pytest.raises(UsageError, match=r"no candidates left.*change prefix"):
        propose(scores, [tuple(prompt)], tokenizer, 5)
    (letter,) = tokenizer.encode([" q"])
    scores[0, letter[0]] = 0.0
    assert [c.token for c in propose(scores, [tuple(prompt)], tokenizer, 5)] == [letter[0]]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"candidates": 0}, r"optimizer\.candidates=0"),
        ({"beam": 0}, r"optimizer\.beam=0.*greedy"),
        ({"max_new_tokens": 0}, r"optimizer\.max_new_tokens"),
        ({"gradient_weight": -1.0}, r"optimizer\.gradient_weight"),
        ({"stop": "eos"}, r"optimizer\.stop.*sentence_end, never"),
        ({"zeroth": "alone"}, r"optimizer\.zeroth.*calibrated"),
        ({"zeroth": "second"}, r"optimizer\.zeroth.*alone, context"),
        ({"zeroth_weight": (1.0,)}, r"optimizer\.zeroth_weight.*two numbers"),
    ],
)
def test_settings_out_of_range(setting: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AutoDAN(**setting)


def silent(problem: PromptProblem) -> PromptProblem:
    """The problem without fluency."""
    terms = dict(problem.objective.terms.items())
    return PromptProblem(
        problem.lm,
        MultiObjectiveLoss(terms, {"fluency": 0.0, "text": 20.0}),
        problem.prefix,
        problem.targets,
    )


def passes(problem: PromptProblem, search: AutoDAN) -> tuple[int, SearchResult]:
    """How often the language model runs in a search, and what that finds."""
    calls = []
    handle = problem.lm.model.register_forward_pre_hook(lambda *_: calls.append(1))
    found = search.search(problem)
    handle.remove()
    return len(calls), found


SILENT = {
    "uncalibrated": {"logprob_weight": 0.0},
    "calibrated": {"calibrated": True, "zeroth": "context", "logprob_weight": 1.0},
    "no_weight": {"calibrated": True, "zeroth": "context", "logprob_weight": 0.0},
    "uniform_cost": {"logprob_weight": 0.0, "frontier": "uniform_cost"},
    "sentences": {"logprob_weight": 0.0, "stop": "sentence_end", "patience": 1},
}


@pytest.mark.parametrize("name", list(SILENT))
def test_a_language_model_that_nothing_asks_is_not_run(
    problem: PromptProblem, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the search finds the same, step by step, as with all its forward passes."""
    quiet = silent(problem)
    settings = {"stop": "never", **SILENT[name]}
    search = AutoDAN(candidates=6, beam=2, max_new_tokens=4, linearisation=Linearisation(count=3), **settings)
    none, found = passes(quiet, search)
    monkeypatch.setattr(AutoDAN, "reads_lm", lambda *_: True)
    some, expected = passes(quiet, search)
    assert none == 0 < some
    for beam, other in zip(found.steps, expected.steps, strict=True):
        for own, full in zip(beam, other, strict=True):
            same = ("ids", "text", "objective", "terms", "parent", "finished")
            assert all(getattr(own, field) == getattr(full, field) for field in same)
            assert own.nll == 0
    assert found.best.ids == expected.best.ids
    assert found.evaluations == expected.evaluations


@pytest.mark.parametrize(
    ("fluency", "settings"),
    [
        (1.0, {"logprob_weight": 0.0}),
        (0.0, {"logprob_weight": 0.5}),
        (0.0, {"logprob_weight": 0.0, "linearisation": Linearisation("likely", count=2)}),
        (0.0, {"calibrated": True, "linearisation": Linearisation("expected")}),
    ],
)
def test_a_language_model_that_something_asks_is_run(
    problem: PromptProblem, fluency: float, settings: dict
) -> None:
    asked = problem if fluency else silent(problem)
    search = AutoDAN(candidates=4, beam=1, max_new_tokens=2, stop="never", **settings)
    assert passes(asked, search)[0] > 0
