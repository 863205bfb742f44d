"""Another model's fluency: values, gradients, and the shared beginnings."""

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gemma3, tiny_gpt2, tiny_llama
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import LookupMap
from fuse_repro.errors import UsageError
from fuse_repro.objectives import PromptBatch, SecondaryFluencyTerm, prompt_nll
from fuse_repro.objectives.shared_prefix import shared_prefix_nll

MAKERS = [tiny_gpt2, tiny_llama, tiny_gemma3]


@pytest.mark.parametrize("make", MAKERS)
def test_shared_beginnings_change_no_likelihood(make) -> None:
    lm = make()
    texts = [
        *SENTENCES[:4],
        "An image of a cat",
        "An image of a dog",
        "An image of a dog.",
        "An image",
        "Two",
        "An",
    ]
    ids = lm.tokenizer.encode(texts)
    nll, scored = shared_prefix_nll(lm, ids)
    expected, counts = prompt_nll(lm, ids)
    torch.testing.assert_close(nll, expected, atol=1e-3, rtol=1e-4)
    assert torch.equal(scored, counts)
    with pytest.raises(UsageError, match="empty prompt"):
        shared_prefix_nll(tiny_gpt2(), [[]])


@pytest.mark.parametrize("make", MAKERS)
def test_values_with_and_without_gradient_agree(make) -> None:
    source, lm = tiny_gpt2(), make()
    term = SecondaryFluencyTerm("other", lm, LookupMap.fit(source, lm, ()))
    texts = list(SENTENCES[:3])
    longest = max(len(ids) for ids in source.tokenizer.encode(texts))
    embeddings = torch.zeros(3, longest, source.embedding_size, requires_grad=True)
    values = term(PromptBatch(texts, embeddings=embeddings))
    torch.testing.assert_close(values, term(PromptBatch(texts)), atol=1e-4, rtol=1e-4)
    values.sum().backward()
    assert embeddings.grad.abs().sum() > 0


@pytest.mark.parametrize(("make", "tied"), [(tiny_gpt2, True), (tiny_gemma3, True), (tiny_llama, False)])
def test_the_last_token_has_a_gradient_as_what_is_predicted(make, tied: bool) -> None:
    """Nothing follows it, so what is read there does not matter; with tied embeddings the change of its likelihood to
    that of another token is the difference of their first-order scores, exactly."""
    lm = make()
    term = SecondaryFluencyTerm("other", lm)
    (ids,) = lm.tokenizer.encode(["An image of a dog"])
    tokens = torch.tensor([ids])
    embeddings = lm.embed(tokens).requires_grad_(True)
    value = term._likelihood(embeddings, tokens, torch.ones_like(tokens, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(value.sum(), embeddings)
    if not tied:
        assert not gradient[0, -1].any()
        return
    other = lm.tokenizer.encode(["An image of a s"])[0][-1]
    changed = torch.tensor([[*ids[:-1], other]])
    predicted = gradient[0, -1] @ (lm.embed(changed) - lm.embed(tokens))[0, -1]
    nll, scored = prompt_nll(lm, [ids, changed[0].tolist()])
    true = ((nll[1] - nll[0]) / scored[0]).detach()
    torch.testing.assert_close(predicted.detach(), true, atol=1e-4, rtol=1e-3)


def test_terms_say_what_they_lack() -> None:
    with pytest.raises(UsageError, match=r"objective\.other\.model.*causal language model"):
        SecondaryFluencyTerm("other", tiny_bert_encoder())
    term = SecondaryFluencyTerm("other", tiny_gpt2())
    with pytest.raises(UsageError, match="no adapter"):
        term(PromptBatch(["A cat"], embeddings=torch.zeros(1, 2, 32)))
