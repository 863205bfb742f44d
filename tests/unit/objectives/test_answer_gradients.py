"""The answer term's gradients: by the primary model's tokens, through adapters, and at an open token."""

import pytest
import torch
from answer_checks import FACTS
from tiny_models import tiny_gemma3, tiny_gpt2, tiny_llama
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import FuseAdapterModule, IdentityMap, LookupMap
from fuse_repro.errors import UsageError
from fuse_repro.objectives import AnswerTerm, MultiObjectiveLoss, OpenSlot, PromptBatch, answer_passes
from fuse_repro.search.gradient import OpenPrompt, slot_gradients
from fuse_repro.search.linearisation import Linearisation
from fuse_repro.search.problem import PromptProblem
from fuse_repro.search.token_gradients import token_gradients

TEMPLATES = ["[X] {prompt} [Y]", "{prompt} [X] [Y]", "[X] {prompt} is [Y]"]
WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TEXTS = [" in the city of", " the old bridge of"]


def problem(lm, term: AnswerTerm) -> PromptProblem:
    objective = MultiObjectiveLoss({term.name: term}, {term.name: 1.0})
    return PromptProblem(lm, objective, "", {term.name: term.target(FACTS)})


def same_length(lm, texts=TEXTS) -> list[tuple[int, ...]]:
    encoded = lm.tokenizer.encode(texts)
    return [tuple(ids[: min(map(len, encoded))]) for ids in encoded]


def one_hot_gradient(lm, term: AnswerTerm, prompts) -> torch.Tensor:
    """[B, S, V] by autograd through one-hot tokens, every example in a pass of its own."""
    examples = term.target(FACTS)
    table = lm.embedding_table()
    chosen = torch.nn.functional.one_hot(torch.tensor(prompts), len(table)).to(table).requires_grad_(True)
    total = 0.0
    for (before, between, _), answer in zip(examples.pieces, examples.answers, strict=True):
        sides = [lm.embed(torch.tensor([ids] * len(prompts))) for ids in (before, (*between, *answer)) if ids]
        parts = [chosen @ table, sides[-1]] if not before else [sides[0], chosen @ table, sides[-1]]
        logits = lm.model(inputs_embeds=torch.cat(parts, 1)).logits[:, -len(answer) - 1 : -1, : len(table)]
        labels = torch.tensor([answer] * len(prompts))[..., None]
        total = total - logits.log_softmax(-1).gather(-1, labels).squeeze(-1).mean(1).sum() / len(FACTS)
    return torch.autograd.grad(total, chosen)[0]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
def test_the_primary_models_gradient_is_that_by_a_one_hot_choice(make, template: str) -> None:
    lm = make().double()
    prompts = same_length(lm)
    term = AnswerTerm("answer", lm, IdentityMap(lm), template=template)
    found = token_gradients(problem(lm, term), prompts)
    expected = one_hot_gradient(lm, term, prompts)
    for row in range(len(prompts)):
        scores = found.scores(row, range(len(prompts[0])))
        torch.testing.assert_close(scores.double(), expected[row], atol=1e-6, rtol=1e-5)
    plain = term(PromptBatch(lm.tokenizer.decode(prompts), {"answer": term.target(FACTS)}))
    torch.testing.assert_close(found.values.total, plain, atol=1e-12, rtol=1e-12)


def test_a_secondary_model_of_the_same_tokenizer_has_the_primarys_gradient() -> None:
    lm, twin = tiny_gpt2().double(), tiny_gpt2().double()
    prompts = same_length(lm)
    own = AnswerTerm("answer", lm, IdentityMap(lm))
    other = AnswerTerm("answer", twin, FuseAdapterModule.fit(lm, twin, WORDS))
    assert other.adapter.shared_tokenizer
    found = [token_gradients(problem(lm, term), prompts) for term in (own, other)]
    torch.testing.assert_close(found[0].values.total, found[1].values.total)
    torch.testing.assert_close(found[0].embeddings, found[1].embeddings, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("template", TEMPLATES)
def test_another_models_gradient_comes_through_the_adapter(template: str) -> None:
    """By the embeddings that it reads, it is autograd's; values are those without gradients."""
    lm, other = tiny_gpt2(), tiny_gemma3()
    term = AnswerTerm("answer", other, LookupMap.fit(lm, other, ()), template=template)
    prompts = same_length(lm)
    found = token_gradients(problem(lm, term), prompts)
    ((_, gradient, alignment),) = found.traces
    texts = lm.tokenizer.decode(prompts)
    read = [tokens.ids for tokens in term.template.split_prompts(other.tokenizer, texts)]
    for row, ids in enumerate(read):
        assert alignment.target_ids[row, : len(ids)].tolist() == list(ids)
        expected = one_hot_gradient(other, term, [ids])[0]
        reached = gradient[row, : len(ids)] @ other.embedding_table().T
        torch.testing.assert_close(reached, expected, atol=1e-4, rtol=1e-3)
        assert not gradient[row, len(ids) :].any()
    plain = term(PromptBatch(texts, {"answer": term.target(FACTS)}))
    torch.testing.assert_close(found.values.total, plain, atol=1e-5, rtol=1e-5)


def test_many_rows_have_the_gradients_of_few(monkeypatch) -> None:
    lm = tiny_gpt2()
    term = AnswerTerm("answer", lm, IdentityMap(lm))
    prompts = same_length(lm)
    whole = token_gradients(problem(lm, term), prompts)
    monkeypatch.setattr(answer_passes, "ROWS_WITH_GRADIENT", 2)
    parts = token_gradients(problem(lm, term), prompts)
    torch.testing.assert_close(parts.embeddings, whole.embeddings)


def test_an_open_token_has_the_gradient_of_finite_differences() -> None:
    lm = tiny_gpt2().double()
    term = AnswerTerm("answer", lm, IdentityMap(lm))
    targets = {"answer": term.target(FACTS)}
    tokenizer = lm.tokenizer
    before, after = " in the city", " of France"
    (head, tail) = (tokenizer.split([text])[0] for text in (before, after))
    tokens = tokenizer.split([before + " a" + after])
    known = lm.embed(torch.tensor([tokens[0].ids]))

    def loss(vector: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        slot = OpenSlot(tokens, [before], [" a"], len(head.ids), [after], vectors=lambda model: vector)
        return term(PromptBatch([before], targets, embeddings=embeddings, slot=slot))

    vector = torch.randn(1, lm.embedding_size, dtype=torch.float64)
    embeddings = known.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(vector, embeddings).sum(), embeddings)
    step = 1e-5 * torch.eye(lm.embedding_size, dtype=torch.float64)
    numeric = [(loss(vector + s, known.requires_grad_(True)) - loss(vector - s, known)) / 2e-5 for s in step]
    torch.testing.assert_close(gradient[0, len(head.ids)], torch.cat(numeric).detach(), atol=1e-7, rtol=1e-5)
    assert len(tail.ids) + len(head.ids) + 1 == gradient.shape[1]


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_gemma3])
def test_searches_score_open_tokens_with_it(make) -> None:
    """At a likely token of its own, a move to another token is predicted to first order."""
    lm, model = tiny_gpt2(), make()
    adapter = IdentityMap(lm) if make is tiny_gpt2 else LookupMap.fit(lm, model, ())
    model = lm if make is tiny_gpt2 else model
    term = AnswerTerm("answer", model, adapter)
    log_probs = torch.zeros(1, lm.tokenizer.vocab_size).log_softmax(-1)
    for prompt in (OpenPrompt(" in the city"), OpenPrompt(" in", after=" of the old bridge"), OpenPrompt("")):
        found = slot_gradients(problem(lm, term), [prompt], Linearisation(), log_probs)
        assert found is not None
        assert found.values.isfinite().all()
        scores = found.scores()
        assert scores.shape == log_probs.shape
        assert scores.std() > 0


def test_words_that_are_read_as_other_tokens_keep_their_gradient() -> None:
    """A prompt that does not begin with a space is read with one: by words, where its tokens are others then."""
    lm = tiny_gpt2()
    term = AnswerTerm("answer", lm, IdentityMap(lm))
    (bare,) = lm.tokenizer.encode(["image of a cat"])
    read = term.template.split_prompts(lm.tokenizer, ["image of a cat"])[0].ids
    assert len(bare) != len(read)
    found = token_gradients(problem(lm, term), [tuple(bare)])
    plain = term(PromptBatch([" image of a cat"], {"answer": term.target(FACTS)}))
    torch.testing.assert_close(found.values.total, plain, atol=1e-5, rtol=1e-5)
    assert (found.embeddings[0].norm(dim=-1) > 0).all()


def test_gradients_need_an_adapter() -> None:
    lm = tiny_gpt2()
    term = AnswerTerm("answer", lm)
    batch = PromptBatch([" a"], {"answer": term.target(FACTS)}, embeddings=torch.zeros(1, 1, 32))
    with pytest.raises(UsageError, match="'answer' has no adapter"):
        term(batch)
