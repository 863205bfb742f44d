"""Where gradients are taken, and what they say there."""

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gemma3, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import FuseAdapterModule, LookupMap
from fuse_repro.alignment.token_pieces import starts_word, token_texts
from fuse_repro.errors import UsageError
from fuse_repro.objectives import MultiObjectiveLoss, TextMatchTerm
from fuse_repro.search import Linearisation, PromptProblem
from fuse_repro.search.gradient import OpenPrompt, slot_gradients

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
PROMPT = OpenPrompt("An image of")


@pytest.fixture(scope="module", params=[tiny_gpt2, tiny_gemma3])
def problem(request: pytest.FixtureRequest) -> PromptProblem:
    lm, encoder = request.param(), tiny_bert_encoder()
    term = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder, WORDS))
    targets = {"text": term.target("A cat on a table.")}
    return PromptProblem(lm, MultiObjectiveLoss({"text": term}), PROMPT.before, targets)


def next_token(problem: PromptProblem) -> torch.Tensor:
    ids = problem.lm.tokenizer.encode([PROMPT.before])[0]
    return problem.lm.start(torch.tensor([[*problem.lm.tokenizer.prefix_ids, *ids]])).log_probs[0]


def loss_at(problem: PromptProblem, vector: torch.Tensor) -> torch.Tensor:
    """The term with one more target embedding [d_t] at the end of the prompt."""
    encoder = problem.objective.terms["text"].encoder
    known = encoder.embed(torch.tensor(encoder.tokenizer.encode([PROMPT.before])))
    whole = torch.cat([known, vector.reshape(1, 1, -1)], dim=1)
    return 1 - encoder(whole, torch.ones(whole.shape[:2])) @ problem.targets["text"]


@pytest.mark.parametrize("kind", ["zero", "mean", "expected"])
def test_points_that_no_text_has(problem: PromptProblem, kind: str) -> None:
    """The gradient is that of the encoder with this very vector in the slot."""
    lm, term, log_probs = problem.lm, problem.objective.terms["text"], next_token(problem)
    linearisation = Linearisation(kind)
    vector = linearisation.vector(term.encoder, lm, log_probs).requires_grad_(True)
    loss = loss_at(problem, vector)
    (gradient,) = torch.autograd.grad(loss.sum(), vector)
    found = slot_gradients(problem, [PROMPT], linearisation, log_probs[None])
    torch.testing.assert_close(found.values[0], loss.detach(), atol=1e-5, rtol=1e-5)
    expected = term.adapter.score_tokens(gradient[None])[0]
    torch.testing.assert_close(found.scores()[0], expected, atol=1e-5, rtol=1e-4)


def test_vectors_of_the_three_points(problem: PromptProblem) -> None:
    encoder, log_probs = problem.objective.terms["text"].encoder, next_token(problem)
    zero, mean, expected = (
        Linearisation(kind).vector(encoder, problem.lm, log_probs) for kind in ("zero", "mean", "expected")
    )
    assert not zero.any()
    torch.testing.assert_close(mean, encoder.embedding_table().mean(0))
    sure = torch.full_like(log_probs, -torch.inf)
    token = problem.lm.tokenizer.encode(["a dog"])[0][-1]
    sure[token] = 0.0
    lookup = problem.objective.terms["text"].adapter
    own = Linearisation("expected").vector(encoder, problem.lm, sure)
    torch.testing.assert_close(own, lookup.rows(torch.tensor([token]))[0], atol=1e-5, rtol=1e-4)
    assert (expected - own).abs().max() > 1e-3


def test_several_points_average_what_each_says(problem: PromptProblem) -> None:
    log_probs = next_token(problem)
    several = Linearisation("random", count=4, joining=3)
    points = several.points(problem.lm, log_probs)
    assert [point.joins for point in points] == [False] * 4 + [True] * 3
    found = slot_gradients(problem, [PROMPT], several, log_probs[None])
    alone = [
        slot_gradients(problem, [PROMPT], Linearisation("dummy", point.filler.strip()), log_probs[None])
        for point in points[:4]
    ]
    torch.testing.assert_close(
        found.values[0, :4], torch.cat([a.values[0] for a in alone]), atol=1e-5, rtol=1e-5
    )
    mean = torch.stack([a.scores() for a in alone]).mean(0)
    torch.testing.assert_close(found.scores(False), mean, atol=1e-5, rtol=1e-4)
    assert (found.scores(True) - mean).abs().max() > 1e-6


@pytest.mark.parametrize("before", ["An image of", "An image of ", "An image of a cat. \n", ""])
def test_values_are_the_objective_of_the_texts_read(problem: PromptProblem, before: str) -> None:
    """Also where the prompt ends with a space, so that no token can join its last word."""
    several = Linearisation("random", count=3, joining=2)
    log_probs = next_token(problem)
    texts = [before + point.filler for point in several.points(problem.lm, log_probs)]
    term = problem.objective.terms["text"]
    found = slot_gradients(problem, [OpenPrompt(before)], several, log_probs[None])
    own = 1 - term.encoder.encode(texts) @ problem.targets["text"]
    torch.testing.assert_close(found.values[0], own, atol=1e-5, rtol=1e-5)


def test_a_token_inside_a_prompt(problem: PromptProblem) -> None:
    """The gradient of the word between two texts is that of the encoder at this word."""
    term, log_probs = problem.objective.terms["text"], next_token(problem)
    encoder = term.encoder
    found = slot_gradients(
        problem,
        [OpenPrompt("An image of", after=" on a table")],
        Linearisation("dummy", "dog"),
        log_probs[None],
    )
    (tokens,) = encoder.tokenizer.split(["An image of dog on a table"])
    embeddings = encoder.embed(torch.tensor([tokens.ids])).requires_grad_(True)
    loss = 1 - encoder(embeddings, torch.ones(1, len(tokens.ids))) @ problem.targets["text"]
    (gradient,) = torch.autograd.grad(loss.sum(), embeddings)
    start, stop = tokens.spans[3]
    expected = term.adapter.score_tokens(gradient[:, start:stop].sum(1))[0]
    torch.testing.assert_close(found.values[0], loss.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.scores()[0], expected, atol=1e-5, rtol=1e-4)


def test_another_map_may_pull_the_same_gradient(problem: PromptProblem) -> None:
    lm, term = problem.lm, problem.objective.terms["text"]
    fuse = FuseAdapterModule.fit(lm, term.encoder, WORDS)
    other = TextMatchTerm("text", term.encoder, fuse)
    own = PromptProblem(lm, MultiObjectiveLoss({"text": other}), PROMPT.before, problem.targets)
    log_probs = next_token(problem)
    for linearisation in (Linearisation("dummy"), Linearisation("random", count=3, joining=2)):
        shared = slot_gradients(problem, [PROMPT], linearisation, log_probs[None]).scores(instead=fuse)
        torch.testing.assert_close(
            shared,
            slot_gradients(own, [PROMPT], linearisation, log_probs[None]).scores(),
            atol=1e-5,
            rtol=1e-4,
        )


def test_random_and_likely_tokens_are_words_of_the_model(problem: PromptProblem) -> None:
    lm, log_probs = problem.lm, next_token(problem)
    for seed in (0, 1):
        points = Linearisation("random", count=5, joining=5, seed=seed).points(lm, log_probs)
        assert points == Linearisation("random", count=5, joining=5, seed=seed).points(lm, log_probs)
        assert all(starts_word(point.filler) != point.joins for point in points)
    first = Linearisation("random", seed=0, count=5).points(lm, log_probs)
    assert first != Linearisation("random", seed=1, count=5).points(lm, log_probs)
    likely = Linearisation("likely", count=3).points(lm, log_probs)
    order = token_texts(lm.tokenizer, log_probs.argsort(descending=True).tolist())
    known = [text for text in order if text.strip().isalpha() and len(text.strip()) > 1 and starts_word(text)]
    assert [point.filler for point in likely] == list(dict.fromkeys(known))[:3]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"kind": "best"}, r"linearisation\.kind.*random"),
        ({"kind": "dummy", "word": "two words"}, r"linearisation\.word"),
        ({"count": 0}, r"linearisation\.count"),
        ({"joining": -1}, r"linearisation\.joining"),
        ({"kind": "mean", "joining": 2}, r"linearisation\.joining=2.*zero, mean, expected"),
    ],
)
def test_settings_out_of_range(setting: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Linearisation(**setting)


def test_a_small_vocabulary_gives_as_many_points_as_it_has(problem: PromptProblem) -> None:
    points = Linearisation(count=9999).points(problem.lm, next_token(problem))
    assert 20 < len(points) < problem.lm.tokenizer.vocab_size
    assert len({point.filler for point in points}) == len(points)


@pytest.mark.parametrize("kind", ["dummy", "expected", "likely", "random"])
def test_a_beam_in_one_batch_is_its_prompts_one_by_one(problem: PromptProblem, kind: str) -> None:
    """Prompts of equally many tokens, whose texts have different numbers of them in the other model."""
    lm, joining = problem.lm, 2 if kind == "random" else 0
    linearisation = Linearisation(kind, count=3, joining=joining)
    prompts = [OpenPrompt(text) for text in ("An image of a", "A plate of pasta", "The old bridge is")]
    ids = lm.tokenizer.encode([prompt.before for prompt in prompts])
    shortest = min(map(len, ids))
    prompts = [OpenPrompt(text) for text in lm.tokenizer.decode([row[:shortest] for row in ids])]
    log_probs = lm.start(torch.tensor([row[:shortest] for row in ids])).log_probs
    found = slot_gradients(problem, prompts, linearisation, log_probs)
    assert found.kinds == ((False, True) if joining else (False,))
    for row, prompt in enumerate(prompts):
        alone = slot_gradients(problem, [prompt], linearisation, log_probs[row : row + 1])
        torch.testing.assert_close(found.values[row], alone.values[0], atol=1e-5, rtol=1e-5)
        for joins in found.kinds:
            torch.testing.assert_close(found.scores(joins)[row], alone.scores(joins)[0], atol=1e-5, rtol=1e-4)


def test_scores_of_both_kinds_take_one_pullback_and_one_product(
    problem: PromptProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = slot_gradients(problem, [PROMPT], Linearisation(count=3, joining=2), next_token(problem)[None])
    expected = {joins: found.scores(joins) for joins in found.kinds}
    calls: list[str] = []
    for name in ("pull_token", "score_tokens"):
        own = getattr(LookupMap, name)
        monkeypatch.setattr(
            LookupMap, name, lambda *given, own=own, name=name: calls.append(name) or own(*given)
        )
    both = found.scores_of(found.kinds)
    assert calls == ["pull_token", "score_tokens"]
    for joins in (False, True):
        torch.testing.assert_close(both[joins], expected[joins])


@pytest.mark.parametrize("kind", ["dummy", "random", "mean"])
def test_the_open_token_stands_at_its_point_in_the_language_model_too(
    problem: PromptProblem, kind: str
) -> None:
    """There a map that is not linear is linearised; the other tokens are as they are."""
    lm, log_probs = problem.lm, next_token(problem)
    linearisation = Linearisation(kind, count=3, joining=0 if kind == "mean" else 2)
    points = linearisation.points(lm, log_probs)
    found = slot_gradients(problem, [PROMPT], linearisation, log_probs[None])
    ((_, _, alignment),) = found.traces
    before = lm.embed(torch.tensor(lm.tokenizer.encode([PROMPT.before])))
    assert torch.equal(alignment.point[:, : found.position], before.expand(len(points), -1, -1))
    for row, point in zip(alignment.point[:, found.position], points, strict=True):
        if kind == "mean":
            expected = lm.embedding_table().mean(0)
        else:
            text = f" {lm.tokenizer.mask_token or 'thing'}" if point.filler == "auto" else point.filler
            expected = lm.embed(torch.tensor(lm.tokenizer.encode([text])[0])).mean(0)
        torch.testing.assert_close(row, expected)
