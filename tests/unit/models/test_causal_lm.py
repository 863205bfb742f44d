"""Logits from embeddings, and the key-value cache."""

import pytest
import torch
from tiny_models import tiny_gemma3, tiny_gpt2, tiny_llama, tiny_opt

from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM

BUILDERS = [tiny_gpt2, tiny_llama, tiny_gemma3, tiny_opt]


@pytest.fixture(params=BUILDERS, ids=lambda builder: builder.__name__)
def lm(request) -> CausalLM:
    return request.param()


def random_ids(lm: CausalLM, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(lm.tokenizer.vocab_size, (rows, columns), generator=generator)


def test_embeddings_give_the_logits_of_their_tokens(lm):
    ids = random_ids(lm, 2, 9)
    logits = lm(lm.embed(ids))
    assert logits.shape == (2, 9, lm.tokenizer.vocab_size)
    expected = lm.model(input_ids=ids).logits[..., : lm.tokenizer.vocab_size]
    torch.testing.assert_close(logits, expected)


def test_batched_equals_single(lm):
    embeddings = lm.embed(random_ids(lm, 4, 9))
    singles = torch.cat([lm(row[None]) for row in embeddings])
    torch.testing.assert_close(lm(embeddings), singles, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(lm, side):
    ids = random_ids(lm, 2, 7)
    junk = random_ids(lm, 2, 3, seed=1)
    real, padding = torch.ones(2, 7), torch.zeros(2, 3)
    order = slice(None, None, 1 if side == "right" else -1)
    padded = torch.cat([ids, junk][order], dim=1)
    mask = torch.cat([real, padding][order], dim=1)
    logits = lm(lm.embed(padded), mask)
    kept = logits[:, :7] if side == "right" else logits[:, 3:]
    torch.testing.assert_close(kept, lm(lm.embed(ids)), rtol=1e-4, atol=1e-5)


def test_gradient_reaches_the_embeddings_and_is_right(lm):
    lm = lm.double()
    ids = random_ids(lm, 1, 6)
    embeddings = lm.embed(ids).requires_grad_()

    def loss(embeddings: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(lm(embeddings)[0, :-1], ids[0, 1:])

    (gradient,) = torch.autograd.grad(loss(embeddings), embeddings)
    direction = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step = 1e-4 * direction  # some layers compute in float32 whatever the model
    numeric = (loss(embeddings + step) - loss(embeddings - step)) / 2e-4
    torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=2e-3, atol=1e-4)


def test_gradient_of_onehot_tokens_is_the_gradient_times_the_table(lm):
    ids = random_ids(lm, 1, 6)
    table = lm.embedding_table()
    onehot = torch.nn.functional.one_hot(ids, len(table)).float().requires_grad_()
    embeddings = lm.embed(ids).requires_grad_()
    (of_onehot,) = torch.autograd.grad(lm(onehot @ table)[:, -1].logsumexp(-1).sum(), onehot)
    (of_embeddings,) = torch.autograd.grad(lm(embeddings)[:, -1].logsumexp(-1).sum(), embeddings)
    torch.testing.assert_close(of_onehot, of_embeddings @ table.T, rtol=1e-4, atol=1e-6)


def test_start_gives_the_log_probabilities_of_the_next_token(lm):
    ids = random_ids(lm, 3, 8)
    state = lm.start(ids)
    assert state.log_probs.dtype == torch.float32
    expected = lm(lm.embed(ids))[:, -1].log_softmax(-1)
    torch.testing.assert_close(state.log_probs, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.log_probs.exp().sum(-1), torch.ones(3))


@pytest.mark.parametrize("length", [1, 3, 8])
def test_advancing_equals_a_full_forward(lm, length):
    """Parents repeated, permuted and dropped; past the sliding window of Gemma (4), too."""
    ids = random_ids(lm, 3, length)
    state = lm.start(ids)
    for step, parents in enumerate([[2, 0, 0, 1], [3, 3], [1, 0, 1]]):
        rows = torch.tensor(parents)
        tokens = random_ids(lm, len(parents), 1, seed=step)[:, 0]
        ids = torch.cat([ids[rows], tokens[:, None]], dim=1)
        state = state.advance(rows, tokens)
        expected = lm(lm.embed(ids))[:, -1].log_softmax(-1)
        torch.testing.assert_close(state.log_probs, expected, rtol=1e-4, atol=1e-5)


def test_advancing_leaves_the_state_as_it_was(lm):
    state = lm.start(random_ids(lm, 2, 6))
    before = state.log_probs.clone()
    rows, tokens = torch.tensor([1, 0]), torch.tensor([3, 5])
    first = state.advance(rows, tokens)
    state.advance(torch.tensor([0]), torch.tensor([9])).advance(torch.tensor([0]), torch.tensor([4]))
    again = state.advance(rows, tokens)
    assert torch.equal(state.log_probs, before)
    assert torch.equal(first.log_probs, again.log_probs)


def test_a_prefix_without_tokens_is_refused(lm):
    with pytest.raises(UsageError, match="at least one token"):
        lm.start(torch.zeros(1, 0, dtype=torch.long))


def test_terms_have_to_be_accepted():
    with pytest.raises(UsageError, match=r"read https://example.org/terms, then set accept_terms=true"):
        CausalLM.load("model", "wheel", terms="https://example.org/terms", accept_terms=False)
