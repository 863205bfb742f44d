"""bfloat16 changes the order of candidates little: what trainer=cuda with dtype=bfloat16 relies on."""

import pytest
import torch
from tiny_classifiers import tiny_bert_classifier, tiny_roberta_classifier
from tiny_models import tiny_bert_encoder, tiny_clip, tiny_gpt2, tiny_llama
from tiny_tokenizers import SENTENCES

from fuse_repro.objectives import FluencyTerm, MultiObjectiveLoss, PromptBatch, TextMatchTerm
from fuse_repro.objectives.classifier import ClassifierTerm

WORDS = sorted(set(" ".join(SENTENCES).split()))
CANDIDATES = [f"An image of a {word}" for word in WORDS]


def spearman(first: torch.Tensor, second: torch.Tensor) -> float:
    ranks = torch.stack([values.argsort().argsort().double() for values in (first, second)])
    return float(torch.corrcoef(ranks)[0, 1])


def values(build: str, dtype: torch.dtype) -> torch.Tensor:
    batch = PromptBatch(CANDIDATES)
    if build in ("gpt2", "llama"):
        lm = {"gpt2": tiny_gpt2, "llama": tiny_llama}[build]().to(dtype)
        return FluencyTerm(lm)(batch)
    if build in ("roberta_classifier", "bert_classifier"):
        model = {"roberta_classifier": tiny_roberta_classifier, "bert_classifier": tiny_bert_classifier}[
            build
        ]()
        return ClassifierTerm("s", model.to(dtype))(batch)
    encoder = {"bert": tiny_bert_encoder, "clip": tiny_clip}[build]().to(dtype)
    term = TextMatchTerm("text", encoder)
    return term(PromptBatch(CANDIDATES, {"text": term.target(SENTENCES[0])}))


@pytest.mark.parametrize("build", ["gpt2", "llama", "bert", "clip", "roberta_classifier", "bert_classifier"])
def test_candidate_order_in_bfloat16(build: str) -> None:
    full, half = (values(build, dtype).float() for dtype in (torch.float32, torch.bfloat16))
    assert half.isfinite().all()
    assert not torch.equal(full, half)
    assert spearman(full, half) > 0.9


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_candidate_order_on_a_gpu(dtype: torch.dtype) -> None:
    encoder = tiny_bert_encoder()
    term = TextMatchTerm("text", encoder)
    target = term.target(SENTENCES[0])
    expected = term(PromptBatch(CANDIDATES, {"text": target}))
    moved = TextMatchTerm("text", encoder.to("cuda", dtype))
    got = moved(PromptBatch(CANDIDATES, {"text": target.cuda()})).float().cpu()
    assert spearman(expected, got) > 0.9


@pytest.mark.gpu
def test_batches_shrink_until_they_fit_on_a_gpu() -> None:
    from fuse_repro.models.batching import AutoBatch

    free, _ = torch.cuda.mem_get_info()
    row = torch.zeros(64, device="cuda")
    batches = AutoBatch("big", 64)
    result = batches(
        lambda rows: rows + torch.empty(len(rows) * free // 16, device="cuda", dtype=torch.uint8)[:1], row
    )
    assert len(result) == 64
    assert batches.size < 64


def test_the_whole_objective_is_one_dtype_whatever_its_models_are() -> None:
    lm, encoder = tiny_gpt2().to(torch.bfloat16), tiny_bert_encoder()
    term = TextMatchTerm("text", encoder)
    loss = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": term})
    total = loss(PromptBatch(CANDIDATES[:4], {"text": term.target("a cat")})).total
    assert total.dtype == torch.float32
