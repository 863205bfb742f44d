"""Terms of soft prompts: one value per prompt, right by an independent computation, with gradients."""

import pytest
import torch
from tiny_masked_lms import tiny_lm
from torch.nn.functional import cosine_similarity, cross_entropy

from fuse_repro.adapters import LookupMap
from fuse_repro.errors import UsageError
from fuse_repro.objectives import (
    AnswerCrossEntropyTerm,
    MultiObjectiveLoss,
    NearestWordsFluencyTerm,
    NearTokensTerm,
    VectorLengthTerm,
    prompt_nll,
)
from fuse_repro.prompts.batch import Answered, SoftPromptBatch

B, M, N, V = 3, 4, 6, 11


def answered(seed: int = 0) -> Answered:
    draw = torch.Generator().manual_seed(seed)
    candidates = torch.tensor([2, 3, 7, 9])
    return Answered(torch.randn(B, N, V, generator=draw), torch.randint(4, (N,), generator=draw), candidates)


def vectors(size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(B, M, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("candidates", ["vocabulary", "answers"])
def test_the_cross_entropy_is_that_of_each_prompt_alone(candidates: str) -> None:
    found = answered()
    values = AnswerCrossEntropyTerm(tiny_lm("bert"), candidates)(SoftPromptBatch(vectors(8), found))
    for row in range(B):
        logits, gold = found.logits[row], found.candidates[found.gold]
        if candidates == "answers":
            logits, gold = logits[:, found.candidates], found.gold
        torch.testing.assert_close(values[row], cross_entropy(logits, gold))
    assert values.shape == (B,)


def test_the_cross_entropy_counts_nothing_where_nothing_was_answered() -> None:
    term = AnswerCrossEntropyTerm(tiny_lm("bert"))
    with pytest.raises(UsageError, match="nothing is answered where prompts are matched"):
        term(SoftPromptBatch(vectors(8)))
    with pytest.raises(UsageError, match=r"candidates='all' is not allowed: one of vocabulary, answers"):
        AnswerCrossEntropyTerm(tiny_lm("bert"), "all")


def test_the_length_is_measured_in_the_models_tokens() -> None:
    lm = tiny_lm("llama")
    usual = lm.embedding_table().norm(dim=1).median()
    directions = torch.nn.functional.normalize(vectors(lm.embedding_size), dim=2)
    factors = torch.tensor([1.0, 2.0, 0.5])[:, None, None]
    values = VectorLengthTerm(lm)(SoftPromptBatch(directions * usual * factors))
    torch.testing.assert_close(
        values, torch.tensor([2.0, 2.0, 2.0]).log().square() * torch.tensor([0.0, 1, 1])
    )


def test_tokens_are_near_themselves_and_nothing_else_is() -> None:
    lm = tiny_lm("gpt2")
    table = lm.embedding_table()
    prompts = torch.stack([table[5:9], -table[5:9] + 2 * table.mean(0), vectors(lm.embedding_size)[0]])
    values = NearTokensTerm(lm)(SoftPromptBatch(prompts))
    assert values[0] == pytest.approx(0.0, abs=1e-6)
    centred = table - table.mean(0)
    nearest = [
        max(float(cosine_similarity(row - table.mean(0), token, dim=0)) for token in centred)
        for row in prompts[2]
    ]
    assert float(values[2]) == pytest.approx(1 - sum(nearest) / M, abs=1e-5)


@pytest.mark.parametrize("kind", [VectorLengthTerm, NearTokensTerm])
def test_batched_is_single_and_gradients_are_right(kind: type) -> None:
    term = kind(tiny_lm("llama"))
    prompts = vectors(tiny_lm("llama").embedding_size).requires_grad_(True)
    together = term(SoftPromptBatch(prompts))
    alone = torch.cat([term(SoftPromptBatch(prompts[row : row + 1])) for row in range(B)])
    torch.testing.assert_close(together, alone)
    (gradient,) = torch.autograd.grad(together.sum(), prompts)
    step = 1e-3 * torch.nn.functional.normalize(gradient.flatten(), dim=0).view_as(gradient)
    change = (term(SoftPromptBatch(prompts + step)) - term(SoftPromptBatch(prompts - step))).sum() / 2
    assert float(change.detach()) == pytest.approx(float((gradient * step).sum()), rel=0.02)


def test_the_fluency_of_the_nearest_words_is_the_other_models_own() -> None:
    own, other = tiny_lm("llama"), tiny_lm("gpt2")
    adapter = LookupMap.fit(own, other, ())
    term = NearestWordsFluencyTerm("words", other, adapter)
    chosen = term.tokens[:M]
    prompts = own.embed(chosen).detach().unsqueeze(0).requires_grad_(True)
    value = term(SoftPromptBatch(prompts))
    carrier = own.tokenizer.encode(["a"])[0]
    (text,) = own.tokenizer.decode([[*carrier, *chosen.tolist()]])
    nll, scored = prompt_nll(other, other.tokenizer.encode([text]))
    torch.testing.assert_close(value, nll / scored, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(value.sum(), prompts)
    assert gradient.abs().sum() > 0


def test_the_fluency_of_the_nearest_words_needs_a_map() -> None:
    with pytest.raises(UsageError, match=r"objective.words needs a map .*: set adapter=fuse"):
        NearestWordsFluencyTerm("words", tiny_lm("gpt2"))


def test_they_are_terms_of_the_shared_loss() -> None:
    lm = tiny_lm("llama")
    objective = MultiObjectiveLoss(
        {"answer": AnswerCrossEntropyTerm(lm), "length": VectorLengthTerm(lm)}, {"answer": 1.0, "length": 0.5}
    )
    values = objective(SoftPromptBatch(vectors(lm.embedding_size), answered()))
    torch.testing.assert_close(values.total, values.raw["answer"] + 0.5 * values.raw["length"])
