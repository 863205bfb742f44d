"""The label term: one cross-entropy per candidate, and gradients through the adapter."""

import pytest
import torch
from tiny_classifiers import LABELS, tiny_bert_classifier, tiny_head, tiny_roberta_classifier
from tiny_models import tiny_bert_encoder, tiny_gpt2
from tiny_tokenizers import SENTENCES
from torch.nn.functional import cross_entropy

from fuse_repro.adapters import FuseAdapterModule
from fuse_repro.errors import UsageError
from fuse_repro.objectives import FluencyTerm, MultiObjectiveLoss, PromptBatch
from fuse_repro.objectives.classifier import ClassifierTerm
from fuse_repro.search import AutoDAN, PromptProblem

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TEXTS = [*SENTENCES[:5], "A dog.", "cats"]
BUILDERS = {"roberta": tiny_roberta_classifier, "bert": tiny_bert_classifier, "head": tiny_head}


@pytest.fixture(scope="module", params=list(BUILDERS))
def parts(request: pytest.FixtureRequest) -> tuple:
    lm, classifier = tiny_gpt2(), BUILDERS[request.param]()
    return lm, classifier, FuseAdapterModule.fit(lm, classifier, WORDS)


@pytest.mark.parametrize("label", LABELS)
def test_it_is_the_cross_entropy_of_each_candidate(parts: tuple, label: str) -> None:
    _, classifier, _ = parts
    values = ClassifierTerm("sentiment", classifier, label=label)(PromptBatch(TEXTS))
    for text, value in zip(TEXTS, values, strict=True):
        ids = torch.tensor([classifier.tokenizer.tokenizer(text)["input_ids"]])
        own = classifier.encode([text]) if not hasattr(classifier.model, "classifier") else None
        logits = own if own is not None else classifier.model(input_ids=ids).logits
        expected = cross_entropy(logits, torch.tensor([LABELS.index(label)]))
        torch.testing.assert_close(value, expected.detach(), rtol=1e-4, atol=1e-5)
    assert values.std() > 1e-4


def test_gradient_through_the_adapter_is_the_pullback_of_the_classifiers(parts: tuple) -> None:
    lm, classifier, adapter = parts
    term = ClassifierTerm("sentiment", classifier, adapter, "negative")
    text = "An image of a cat"
    source = lm.embed(torch.tensor(lm.tokenizer.encode([text]))).requires_grad_(True)
    value = term(PromptBatch([text], embeddings=source))
    torch.testing.assert_close(value, term(PromptBatch([text])), atol=1e-5, rtol=1e-5)
    value.sum().backward()
    alignment = adapter.align([text])
    own = classifier.embed(alignment.target_ids).requires_grad_(True)
    (-classifier(own, alignment.target_mask)[:, 0]).sum().backward()
    torch.testing.assert_close(source.grad, adapter.pullback(own.grad, alignment))
    assert source.grad.abs().max() > 0


def test_a_search_lowers_it(parts: tuple) -> None:
    lm, classifier, adapter = parts
    found = {}
    for label in ("negative", "positive"):
        term = ClassifierTerm("sentiment", classifier, adapter, label)
        loss = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "sentiment": term}, {"sentiment": 50.0})
        problem = PromptProblem(lm, loss, "An image of", {})
        result = AutoDAN(candidates=32, beam=2, max_new_tokens=3, stop="never").search(problem)
        found[label] = result.best.text
        assert result.best.terms["sentiment"]["raw"] < float(term(PromptBatch(["An image of"])))
    score = {
        label: classifier.encode([text])[0, 2] - classifier.encode([text])[0, 0]
        for label, text in found.items()
    }
    assert score["positive"] > score["negative"]


def test_word_estimates_rank_words_as_the_classifier_does(parts: tuple) -> None:
    lm, classifier, adapter = parts
    term = ClassifierTerm("sentiment", classifier, adapter)
    ids = [lm.tokenizer.encode([f" {word}"])[0][0] for word in ("cat", "dog", "boring", "great", "table")]
    table = term.word_table(lm, ids=ids)
    estimates = term.word_estimates(PromptBatch(["a", "An image of"]), table, context=False)
    words = [lm.tokenizer.decode([[token]])[0].strip() for token in ids]
    torch.testing.assert_close(estimates[1], term(PromptBatch(words)), rtol=1e-4, atol=1e-4)
    assert term.word_estimates(PromptBatch(["a", "An image of"]), table, context=True).shape == (2, 5)


def test_mistakes(parts: tuple) -> None:
    lm, classifier, _ = parts
    with pytest.raises(UsageError, match=r"objective\.mood\.model='tiny_bert'.*a classifier"):
        ClassifierTerm("mood", tiny_bert_encoder())
    with pytest.raises(UsageError, match="label='glad'"):
        ClassifierTerm("mood", classifier, label="glad")
    source = lm.embed(torch.tensor(lm.tokenizer.encode(["A cat"])))
    with pytest.raises(UsageError, match="'mood' has no adapter"):
        ClassifierTerm("mood", classifier)(PromptBatch(["A cat"], embeddings=source))
