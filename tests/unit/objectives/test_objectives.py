"""One value per candidate, weighted sums, and gradients through the adapter."""

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_clip, tiny_gpt2
from tiny_tokenizers import SENTENCES
from torch import nn

from fuse_repro.adapters import FuseAdapterModule
from fuse_repro.errors import UsageError
from fuse_repro.objectives import (
    FluencyTerm,
    ImageMatchTerm,
    MultiObjectiveLoss,
    OpenSlot,
    PromptBatch,
    TextMatchTerm,
    prompt_nll,
)

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))


class Length(nn.Module):
    def forward(self, batch: PromptBatch) -> torch.Tensor:
        return torch.tensor([float(len(text)) for text in batch.texts])


@pytest.fixture(scope="module")
def parts() -> tuple:
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    return lm, encoder, FuseAdapterModule.fit(lm, encoder, WORDS)


def test_weighted_sum_and_terms() -> None:
    loss = MultiObjectiveLoss({"a": Length(), "b": Length()}, {"a": 2.0, "b": 0.5})
    values = loss(PromptBatch(["one", "three"]))
    assert values.total.tolist() == [7.5, 12.5]
    assert values.raw["a"].tolist() == [3, 5]
    assert values.weighted["b"].tolist() == [1.5, 2.5]
    assert values.row(1) == {"a": {"raw": 5, "weighted": 10}, "b": {"raw": 5, "weighted": 2.5}}


def test_a_term_of_weight_zero_is_not_computed() -> None:
    class Fails(nn.Module):
        def forward(self, batch: PromptBatch) -> torch.Tensor:
            raise AssertionError("computed")

    values = MultiObjectiveLoss({"a": Length(), "b": Fails()}, {"b": 0.0})(PromptBatch(["one"]))
    assert set(values.raw) == {"a"}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": -1.0}, r"objective\.a\.weight=-1"),
        ({"a": float("nan")}, "finite"),
        ({"c": 1.0}, "the terms are a"),
    ],
)
def test_weights_that_cannot_be(weights: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MultiObjectiveLoss({"a": Length()}, weights)


def test_an_objective_needs_a_term() -> None:
    with pytest.raises(UsageError, match="at least one term"):
        MultiObjectiveLoss({})


def test_candidates_are_ranked_alone(parts: tuple) -> None:
    lm, encoder, adapter = parts
    loss = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": TextMatchTerm("text", encoder, adapter)})
    targets = {"text": loss.terms["text"].target("A cat on a table.")}
    texts = [*SENTENCES[:6], "A dog.", "cats"]
    together = loss(PromptBatch(texts, targets)).total
    for row, text in enumerate(texts):
        torch.testing.assert_close(
            loss(PromptBatch([text], targets)).total[0], together[row], atol=1e-5, rtol=1e-5
        )


def test_likelihood_is_the_models_own(parts: tuple) -> None:
    lm = parts[0]
    ids = lm.tokenizer.encode(["An image of a cat", "Two dogs"])
    nll, scored = prompt_nll(lm, ids)
    for row, tokens in enumerate(ids):
        logits = lm.model(torch.tensor([tokens])).logits[0, :, : lm.tokenizer.vocab_size]
        expected = nn.functional.cross_entropy(logits[:-1], torch.tensor(tokens[1:]), reduction="sum")
        torch.testing.assert_close(nll[row], expected, rtol=1e-4, atol=1e-4)
        assert scored[row] == len(tokens) - 1
    with pytest.raises(UsageError, match="empty prompt"):
        prompt_nll(lm, [[]])


def test_prompts_that_do_not_fit_in_memory_together_are_scored_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = tiny_gpt2()
    ids = lm.tokenizer.encode(["An image of a cat", "An image of a dog", "Two dogs", "An image of a cat"])
    expected, scored = prompt_nll(lm, ids)
    forward, rows = lm.forward, []

    def small_memory(embeddings: torch.Tensor) -> torch.Tensor:
        rows.append(len(embeddings))
        if len(embeddings) > 1:
            raise torch.OutOfMemoryError
        return forward(embeddings)

    monkeypatch.setattr(lm, "forward", small_memory)
    found, again = prompt_nll(lm, ids)
    torch.testing.assert_close(found, expected)
    assert torch.equal(again, scored)
    assert max(rows) > 1


def test_a_texts_distance_to_itself_is_zero_and_differs_from_others(parts: tuple) -> None:
    _, encoder, adapter = parts
    term = TextMatchTerm("text", encoder, adapter)
    values = term(PromptBatch([SENTENCES[0], SENTENCES[1]], {"text": term.target(SENTENCES[0])}))
    assert values[0].abs() < 1e-5
    assert values[1] > 1e-3


def test_gradient_through_the_adapter_is_the_pullback_of_the_encoders(parts: tuple) -> None:
    lm, encoder, adapter = parts
    term = TextMatchTerm("text", encoder, adapter)
    text, target = "An image of a cat", term.target("A dog.")
    ids = torch.tensor(lm.tokenizer.encode([text]))
    source = lm.embed(ids).requires_grad_(True)
    value = term(PromptBatch([text], {"text": target}, embeddings=source))
    torch.testing.assert_close(value, term(PromptBatch([text], {"text": target})), atol=1e-5, rtol=1e-5)
    value.sum().backward()
    alignment = adapter.align([text])
    own = encoder.embed(alignment.target_ids).requires_grad_(True)
    (1 - encoder(own, alignment.target_mask) @ target).sum().backward()
    torch.testing.assert_close(source.grad, adapter.pullback(own.grad, alignment))


def test_dummy_words() -> None:
    bert, clip = tiny_bert_encoder().tokenizer, tiny_clip().tokenizer

    def read(filler: str, tokenizer, after: str = "") -> str:
        return OpenSlot((), ["An image of"], [filler], 3, [after]).texts(tokenizer)[0]

    assert read("auto", bert) == f"An image of {bert.mask_token}"
    assert read("auto", clip) == "An image of thing"
    assert read(" dog", bert) == "An image of dog"
    assert read("ten", bert, " on a table") == "An image often on a table"
    with pytest.raises(UsageError, match="no mask token"):
        read("mask", clip)


def test_terms_say_what_they_lack(parts: tuple) -> None:
    lm, encoder, _ = parts
    term = TextMatchTerm("text", encoder)
    with pytest.raises(UsageError, match="has no target"):
        term(PromptBatch(["a"]))
    source = lm.embed(torch.tensor(lm.tokenizer.encode(["A cat"])))
    with pytest.raises(UsageError, match="no adapter"):
        term(PromptBatch(["A cat"], {"text": term.target("a")}, embeddings=source))
    with pytest.raises(UsageError, match="no image side"):
        ImageMatchTerm("image", encoder).target(None)
