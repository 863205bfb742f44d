"""First order and zeroth order in one score."""

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gpt2, tiny_llama
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import LookupMap
from fuse_repro.metrics.fidelity import spearman
from fuse_repro.objectives import (
    FluencyTerm,
    MultiObjectiveLoss,
    PromptBatch,
    SecondaryFluencyTerm,
    TextMatchTerm,
)
from fuse_repro.search import AutoDAN, Linearisation, PromptProblem, Proposal
from fuse_repro.search.gradient import OpenPrompt
from fuse_repro.search.linearisation import Point
from fuse_repro.search.proposal import fluency_weight, joining
from fuse_repro.search.scoring import by_kind, combine, standardise

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
PREFIX = "An image of"
POINTS = ([Point(" dog"), Point(" cat")], [Point(" dog"), Point(" cat"), Point(" table")])


@pytest.fixture(scope="module")
def problem() -> PromptProblem:
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    term = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder, WORDS))
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": term}, {"fluency": 0.5, "text": 20})
    return PromptProblem(lm, objective, PREFIX, {"text": term.target("A cat on a table.")})


def test_standardise() -> None:
    values = standardise(torch.tensor([1.0, 2, 3, 6]))
    assert float(values.mean()) == pytest.approx(0, abs=1e-6)
    assert float(values.std(correction=0)) == pytest.approx(1)
    assert not standardise(torch.ones(3)).any()


def test_combining_keeps_the_order_of_a_single_part() -> None:
    draw = torch.Generator().manual_seed(0)
    linear, zeroth = (torch.randn(50, generator=draw) for _ in range(2))
    joins = torch.zeros(50, dtype=torch.bool)
    assert spearman(combine({False: linear}, None, by_kind(joins)), linear) == pytest.approx(1)
    assert spearman(combine({}, zeroth, by_kind(joins)), zeroth) == pytest.approx(1)
    assert spearman(combine({False: linear}, zeroth, by_kind(joins), (0.0, 0.0)), linear) == pytest.approx(1)
    assert spearman(combine({False: linear}, zeroth, by_kind(joins), (1e6, 0.0)), zeroth) == pytest.approx(1)


def test_calibration_brings_each_kind_of_token_to_the_objectives_scale() -> None:
    draw = torch.Generator().manual_seed(0)
    linear = {False: torch.randn(60, generator=draw), True: 5 * torch.randn(60, generator=draw)}
    joins = torch.arange(60) % 3 == 0
    values = {False: torch.tensor([1.0, 3.0]), True: torch.tensor([10.0, 10.5])}
    score = combine(linear, None, by_kind(joins), values=values)
    for kind, mean, spread in ((False, 2.0, 1.0), (True, 10.25, 0.25)):
        own = score[joins == kind]
        assert float(own.mean()) == pytest.approx(mean, abs=1e-5)
        assert float(own.std(correction=0)) == pytest.approx(spread, abs=1e-5)
        assert spearman(own, linear[kind][joins == kind]) == pytest.approx(1)


def test_without_points_that_join_the_others_serve() -> None:
    linear, joins = {False: torch.randn(20)}, torch.arange(20) < 10
    score = combine(linear, None, by_kind(joins), values={False: torch.tensor([0.0, 2.0])})
    assert float(score[joins].mean()) == pytest.approx(float(score[~joins].mean()), abs=1e-5)


def test_which_tokens_join() -> None:
    tokenizer = tiny_gpt2().tokenizer
    (s,), (space_s,) = (ids[-1:] for ids in tokenizer.encode(["s", " s"]))
    flags = joining(tokenizer)
    assert bool(flags[s])
    assert not flags[space_s]


def test_scores_follow_the_paper_when_not_calibrated(problem: PromptProblem) -> None:
    """log p minus the weighted first-order change."""
    settings = Proposal(logprob_weight=0.7, gradient_weight=0.3, linearisation=Linearisation("dummy"))
    ids = problem.lm.tokenizer.encode([PREFIX])[0]
    state = problem.lm.start(torch.tensor([ids]))
    (hypothesis,) = AutoDAN(candidates=1, beam=1, max_new_tokens=1, stop="never").search(problem).steps[0]
    start = type(hypothesis)(tuple(ids), PREFIX, 3.0, 4, 0.0, {})
    change = settings.predict(problem, [OpenPrompt(PREFIX, 3.0, 4)], state.log_probs)[0]
    expected = 0.7 * state.log_probs[0] - 0.3 * change
    torch.testing.assert_close(settings.scores(problem, [start], state)[0], expected)


def test_calibrated_scores_predict_the_objective_itself(problem: PromptProblem) -> None:
    """They are on its scale: the best and the typical candidate's true objective are about where predicted."""
    settings = Proposal(linearisation=Linearisation(count=10, joining=6), zeroth="context", calibrated=True)
    tokenizer = problem.lm.tokenizer
    (ids,) = tokenizer.encode([PREFIX])
    state = problem.lm.start(torch.tensor([ids]))
    predicted = settings.predict(problem, [OpenPrompt(PREFIX)], state.log_probs)[0]
    tokens = [t for t in range(tokenizer.vocab_size) if t not in tokenizer.special_ids]
    texts = tokenizer.decode([[*ids, t] for t in tokens])
    kept = [
        (t, text) for t, text in zip(tokens, texts, strict=True) if tokenizer.encode([text]) == [[*ids, t]]
    ]
    values = problem.objective(PromptBatch([text for _, text in kept], problem.targets))
    true, guess = values.weighted["text"], predicted[[t for t, _ in kept]]
    assert abs(float(guess.mean() - true.mean())) < float(true.std())
    assert spearman(guess, true) > 0.3
    assert fluency_weight(problem) == 0.5


def test_estimates_need_no_gradient_and_know_the_prompt(problem: PromptProblem) -> None:
    term = problem.objective.terms["text"]
    ids = problem.lm.tokenizer.encode(["a dog on the table"])[0]
    table = term.word_table(problem.lm, ids=ids)
    batch = PromptBatch(["An image of a cat", "A train"], problem.targets)
    alone, context = (term.word_estimates(batch, table, known) for known in (False, True))
    assert alone.shape == context.shape == (2, len(ids))
    assert torch.equal(alone[0], alone[1])
    assert not torch.allclose(context[0], context[1])
    unit = 1 - table.embeddings @ problem.targets["text"]
    torch.testing.assert_close(alone[0], unit)


def test_another_models_fluency_is_estimated_from_its_own_next_token() -> None:
    """Exact for tokens that are one piece to it."""
    lm, other = tiny_gpt2(), tiny_llama()
    term = SecondaryFluencyTerm("other", other)
    tokens = [i for i in range(lm.tokenizer.vocab_size) if i not in lm.tokenizer.special_ids]
    table = term.word_table(lm, ids=tokens)
    prompt = "An image of a"
    guess = term.word_estimates(PromptBatch([prompt]), table, True)[0]
    (ids,) = lm.tokenizer.encode([prompt])
    texts = lm.tokenizer.decode([[*ids, token] for token in tokens])
    clean = [i for i, text in enumerate(texts) if lm.tokenizer.encode([text]) == [[*ids, tokens[i]]]]
    clean = [i for i in clean if int(table.counts[i]) == 1 and texts[i].strip() != prompt]
    true = term(PromptBatch([texts[i] for i in clean]))
    torch.testing.assert_close(guess[clean], true, atol=1e-4, rtol=1e-4)
    assert len(clean) > 50


def weighed(problem: PromptProblem, weight: float) -> PromptProblem:
    terms = dict(problem.objective.terms.items())
    objective = MultiObjectiveLoss(terms, {"fluency": 0.5, "text": weight})
    return PromptProblem(problem.lm, objective, problem.prefix, problem.targets)


@pytest.mark.parametrize(
    "points", [Linearisation("dummy"), Linearisation("mean"), Linearisation(count=5, joining=1)]
)
@pytest.mark.parametrize("zeroth", ["none", "alone", "context"])
def test_calibrated_scores_spread_with_the_terms_weight(
    problem: PromptProblem, points: Linearisation, zeroth: str
) -> None:
    """Also of a kind of token with a single point, whose value has no spread of its own."""
    settings = Proposal(linearisation=points, zeroth=zeroth, calibrated=True)
    log_probs = torch.zeros(1, problem.lm.tokenizer.vocab_size)
    once, twice = (
        settings.predict(weighed(problem, weight), [OpenPrompt(PREFIX)], log_probs)[0]
        for weight in (20.0, 40.0)
    )
    flags = joining(problem.lm.tokenizer)
    for kind in (flags, ~flags):
        assert float(once[kind].std()) > 0
        torch.testing.assert_close(twice[kind], 2 * once[kind], rtol=1e-3, atol=1e-3)


def test_with_one_point_the_spread_is_that_of_the_words_alone(problem: PromptProblem) -> None:
    settings = Proposal(linearisation=Linearisation("dummy"), calibrated=True)
    term, lm = problem.objective.terms["text"], problem.lm
    found = settings.predict(problem, [OpenPrompt(PREFIX)], torch.zeros(1, lm.tokenizer.vocab_size))[0]
    table = term.word_table(lm)
    alone = 20 * term.word_estimates(PromptBatch([PREFIX], problem.targets), table, False)[0]
    flags = joining(lm.tokenizer)
    for kind in (flags, ~flags):
        assert float(found[kind].std()) == pytest.approx(float(alone[kind].std()), rel=1e-3)


def test_a_single_value_takes_its_spread_from_the_best_estimate_there_is() -> None:
    draw = torch.Generator().manual_seed(0)
    linear, zeroth, typical = (scale * torch.randn(50, generator=draw) for scale in (9.0, 0.1, 2.0))
    joins, one = torch.arange(50) % 2 == 0, {False: torch.tensor([3.0])}
    for estimates, source in (
        ((zeroth, typical), typical),
        ((zeroth, None), zeroth),
        ((None, typical), typical),
        ((None, None), linear),
    ):
        score = combine({False: linear}, estimates[0], by_kind(joins), values=one, typical=estimates[1])
        for kind in (joins, ~joins):
            spread = float(source[kind].std(correction=0))
            assert float(score[kind].mean()) == pytest.approx(3.0, abs=1e-4)
            assert float(score[kind].std(correction=0)) == pytest.approx(spread, rel=1e-4)
    two = {False: torch.tensor([1.0, 2.0])}
    score = combine({False: linear}, zeroth, by_kind(joins), values=two, typical=typical)
    assert float(score[joins].std(correction=0)) == pytest.approx(0.5, rel=1e-4)


def test_the_rows_of_a_batch_are_combined_by_themselves() -> None:
    draw = torch.Generator().manual_seed(0)
    rows, kinds = 3, by_kind(torch.arange(40) % 3 == 0)
    linear = {kind: torch.randn(rows, 40, generator=draw) for kind in (False, True)}
    zeroth, typical = torch.randn(2, rows, 40, generator=draw)
    for points in (1, 4):
        values = {kind: torch.randn(rows, points, generator=draw) for kind in (False, True)}
        for known in (None, values):
            found = combine(linear, zeroth, kinds, values=known, typical=typical)
            for row in range(rows):
                first = {kind: own[row] for kind, own in linear.items()}
                seen = None if known is None else {kind: own[row] for kind, own in known.items()}
                alone = combine(first, zeroth[row], kinds, values=seen, typical=typical[row])
                torch.testing.assert_close(found[row], alone)


def test_prompts_with_fewer_likely_words_are_predicted_apart(
    problem: PromptProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every prompt of a beam gets what it gets alone, in its place."""
    points = Linearisation("likely", count=3)
    monkeypatch.setattr(Linearisation, "points", lambda self, lm, row: POINTS[int(row[0])])
    settings = Proposal(linearisation=points, zeroth="context", calibrated=True)
    log_probs = torch.zeros(3, problem.lm.tokenizer.vocab_size)
    log_probs[:, 0] = torch.tensor([1.0, 0.0, 1.0])
    prompts = [OpenPrompt(text) for text in (PREFIX, "A image of", PREFIX)]
    found = settings.predict(problem, prompts, log_probs)
    for row, prompt in enumerate(prompts):
        alone = settings.predict(problem, [prompt], log_probs[row : row + 1])[0]
        torch.testing.assert_close(found[row], alone, atol=1e-4, rtol=1e-4)
