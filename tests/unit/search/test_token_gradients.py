"""Gradients by every token against finite identities: one-hot choices, brute force, the slot's gradient."""

import pytest
import torch
from test_autodan import WORDS, make_problem
from tiny_models import tiny_bert_encoder, tiny_gemma3, tiny_gpt2, tiny_llama
from torch import Tensor

from fuse_repro.adapters import FuseAdapterModule
from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import FluencyTerm, MultiObjectiveLoss, PromptBatch, TextMatchTerm, prompt_nll
from fuse_repro.search import PromptProblem
from fuse_repro.search.token_gradients import read, token_gradients

TEXTS = ("An image of a cat on a table", "An image of the dog and coffee")


def ids_of(lm: CausalLM, text: str) -> list[int]:
    return lm.tokenizer.encode([text])[0]


@pytest.fixture(scope="module", params=[tiny_gpt2, tiny_gemma3, tiny_llama])
def lm(request: pytest.FixtureRequest) -> CausalLM:
    return request.param()


def test_the_likelihood_is_that_of_the_fluency_term(lm: CausalLM) -> None:
    prompts = [ids_of(lm, TEXTS[0])] * 2
    found, (nll, scored) = read(lm, torch.tensor(prompts)), prompt_nll(lm, prompts)
    torch.testing.assert_close(found.nll, nll, atol=1e-4, rtol=1e-5)
    assert found.scored.tolist() == scored.tolist()


def test_the_gradient_by_a_one_hot_choice_is_autograds(lm: CausalLM) -> None:
    """Score differences between tokens equal d(nll)/d(one-hot), reading and predicting together."""
    ids = ids_of(lm, TEXTS[0])
    prefix, table = list(lm.tokenizer.prefix_ids), lm.embedding_table().float()
    one_hot = torch.nn.functional.one_hot(torch.tensor(ids), len(table)).float().requires_grad_(True)
    whole = torch.cat([lm.embed(torch.tensor(prefix, dtype=torch.long)), one_hot @ table])
    log_probs = lm(whole[None])[0].log_softmax(-1)
    first = max(0, 1 - len(prefix))
    start = len(prefix) + first - 1
    nll = -(log_probs[start:-1] * one_hot[first:]).sum()
    (expected,) = torch.autograd.grad(nll, one_hot)
    problem = PromptProblem(lm, MultiObjectiveLoss({"fluency": FluencyTerm(lm)}), "An image of", {})
    found = token_gradients(problem, [ids])
    scores = found.scores(0, range(1, len(ids))) * float(found.scored[0])
    torch.testing.assert_close(centred(scores), centred(expected[1:]), atol=2e-4, rtol=1e-3)


def centred(scores: Tensor) -> Tensor:
    return scores - scores.mean(1, keepdim=True)


def test_the_embedding_gradient_gives_the_same_scores_where_embeddings_are_tied() -> None:
    """<gradient, embedding> is the one-hot score but for the normaliser, which no token changes."""
    lm = tiny_gpt2()
    problem = PromptProblem(lm, MultiObjectiveLoss({"fluency": FluencyTerm(lm)}), "An image of", {})
    ids = ids_of(lm, TEXTS[1])
    found = token_gradients(problem, [ids])
    places = range(3, len(ids))
    by_embedding = found.embeddings[0, 3:] @ lm.embedding_table().T
    torch.testing.assert_close(centred(by_embedding), centred(found.scores(0, places)), atol=2e-4, rtol=1e-3)


def test_the_secondary_gradient_is_the_pullback() -> None:
    problem = make_problem(tiny_gpt2())
    term = problem.objective.terms["text"]
    silent = MultiObjectiveLoss(dict(problem.objective.terms.items()), {"fluency": 0.0, "text": 20.0})
    ids = ids_of(problem.lm, TEXTS[0])
    embeddings = problem.lm.embed(torch.tensor([ids])).requires_grad_(True)
    loss = 20 * term(PromptBatch([TEXTS[0]], problem.targets, embeddings=embeddings))
    (expected,) = torch.autograd.grad(loss.sum(), embeddings)
    found = token_gradients(PromptProblem(problem.lm, silent, problem.prefix, problem.targets), [ids])
    torch.testing.assert_close(found.embeddings, expected)
    torch.testing.assert_close(
        found.scores(0, range(len(ids))), expected[0] @ problem.lm.embedding_table().T, atol=1e-5, rtol=1e-4
    )


def test_a_batch_is_its_rows(lm: CausalLM) -> None:
    problem = make_problem(lm)
    prompts = [ids_of(lm, text) for text in TEXTS]
    size = min(map(len, prompts))
    prompts = [ids_of(lm, lm.tokenizer.decode([ids[:size]])[0]) for ids in prompts]
    assert {len(ids) for ids in prompts} == {size}
    both, single = token_gradients(problem, prompts), [token_gradients(problem, [ids]) for ids in prompts]
    for row in range(2):
        torch.testing.assert_close(both.embeddings[row], single[row].embeddings[0], atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(
            both.scores(row, [4, 5]), single[row].scores(0, [4, 5]), atol=1e-4, rtol=1e-3
        )
    texts = lm.tokenizer.decode(prompts)
    expected = problem.objective(PromptBatch(texts, problem.targets)).total
    torch.testing.assert_close(both.values.total, expected, atol=1e-4, rtol=1e-4)


def test_scores_rank_true_changes_better_than_chance() -> None:
    """With an exact map, one token to one token, first order must say something about the truth."""
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    term = TextMatchTerm("text", encoder, FuseAdapterModule.fit(lm, encoder, WORDS))
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": term})
    problem = PromptProblem(lm, objective, "An image of", {"text": term.target("A dog")})
    ids = ids_of(lm, TEXTS[0])
    place = len(ids) - 2
    scores = token_gradients(problem, [ids]).scores(0, [place])[0]
    changed = [(*ids[:place], token, *ids[place + 1 :]) for token in range(lm.tokenizer.vocab_size)]
    nll, scored = prompt_nll(lm, changed)
    kept = [t for t in range(len(changed)) if t not in lm.tokenizer.special_ids]
    true = (nll / scored)[kept]
    ranks = torch.stack([scores[kept].argsort().argsort(), true.argsort().argsort()]).float()
    assert float(torch.corrcoef(ranks)[0, 1]) > 0.3


def test_an_objective_without_gradients_is_refused() -> None:
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    term = TextMatchTerm("text", encoder)
    problem = PromptProblem(
        lm, MultiObjectiveLoss({"text": term}), "An image of", {"text": term.target("A dog")}
    )
    with pytest.raises(UsageError, match=r"no term.*gradient.*random search"):
        token_gradients(problem, [ids_of(lm, TEXTS[0])])
