"""Every pair of a primary and a secondary architecture: fit a map, pull a gradient back, take one step of a search."""

from functools import partial
from typing import Any

import pytest
import torch
from tiny_classifiers import tiny_bert_classifier, tiny_roberta_classifier
from tiny_models import (
    tiny_bert_encoder,
    tiny_clip,
    tiny_gemma3,
    tiny_gpt2,
    tiny_llama,
    tiny_opt,
    tiny_siglip,
)
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import EmbeddingMap, FuseAdapterModule
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import ClassifierTerm, FluencyTerm, MultiObjectiveLoss, TextMatchTerm
from fuse_repro.search import AutoDAN, PromptProblem

WORDS = tuple(dict.fromkeys(word for sentence in SENTENCES for word in sentence.split()))
PRIMARIES = {"gpt2": tiny_gpt2, "llama": tiny_llama, "gemma3": tiny_gemma3, "opt": tiny_opt}
SECONDARIES = {
    "clip": tiny_clip,
    "siglip": tiny_siglip,
    "roberta": tiny_roberta_classifier,
    "bert": tiny_bert_classifier,
    "sentences-mean": tiny_bert_encoder,
    "sentences-cls": partial(tiny_bert_encoder, pooling="cls"),
}
TEXT = "An image of a baseball"


@pytest.fixture(params=list(PRIMARIES))
def lm(request: pytest.FixtureRequest) -> CausalLM:
    return PRIMARIES[request.param]()


@pytest.fixture(params=list(SECONDARIES))
def secondary(request: pytest.FixtureRequest) -> Any:
    return SECONDARIES[request.param]()


@pytest.fixture
def fitted(lm: CausalLM, secondary: Any) -> EmbeddingMap:
    return FuseAdapterModule.fit(lm, secondary, WORDS, max_tokens=2, words_per_length=100, ridge=0.01)


def test_a_fitted_map_is_exact_forward_and_linear_backward(
    lm: CausalLM, secondary: Any, fitted: EmbeddingMap
) -> None:
    """Forward: the secondary model's own embeddings. Backward: the map's pullback of its true gradient."""
    ids = lm.tokenizer.encode([TEXT])
    own = lm.embed(torch.tensor(ids)).requires_grad_(True)
    alignment = fitted.align([TEXT])
    carried = fitted.embed(own, alignment)
    expected = secondary.embed(torch.tensor(secondary.tokenizer.encode([TEXT])))
    torch.testing.assert_close(carried, expected)
    leaf = expected.detach().requires_grad_(True)
    mask = torch.ones(leaf.shape[:2])
    for embeddings in (carried, leaf):
        secondary(embeddings, mask)[:, 0].sum().backward()
    assert leaf.grad is not None
    assert own.grad is not None
    torch.testing.assert_close(
        own.grad, fitted.pullback(leaf.grad, alignment).to(own.grad), rtol=1e-4, atol=1e-6
    )
    assert (own.grad != 0).any(-1).all()


def test_one_step_of_a_search_evaluates_the_true_objective(
    lm: CausalLM, secondary: Any, fitted: EmbeddingMap
) -> None:
    classifies = hasattr(secondary, "labels") and not hasattr(secondary, "encode_images")
    if classifies:
        term: Any = ClassifierTerm("other", secondary, fitted, label=secondary.labels[0])
    else:
        term = TextMatchTerm("other", secondary, fitted)
    objective = MultiObjectiveLoss(
        {"fluency": FluencyTerm(lm), "other": term}, {"fluency": 1.0, "other": 5.0}
    )
    targets = {} if classifies else {"other": secondary.encode(["a cat"])[0]}
    problem = PromptProblem(lm, objective, "An image of", targets)
    found = AutoDAN(candidates=8, beam=2, max_new_tokens=1, stop="never").search(problem)
    raw = float(found.best.terms["other"]["raw"])
    encoded = secondary.encode([found.best.text])[0]
    true = -encoded[0] if classifies else 1 - encoded @ targets["other"]
    assert raw == pytest.approx(float(true), abs=1e-4)
    assert len(found.steps) == 1
