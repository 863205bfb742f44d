"""bfloat16 changes the order of candidates little: what trainer=cuda with dtype=bfloat16 relies on."""

from collections.abc import Iterator

import pytest
import torch
from PIL import Image
from tiny_classifiers import tiny_bert_classifier, tiny_head, tiny_roberta_classifier
from tiny_models import tiny_bert_encoder, tiny_clip, tiny_conse, tiny_gpt2, tiny_llama, tiny_siglip
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import FuseAdapterModule, LookupMap
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.models.precision import as_forward, full_precision
from fuse_repro.objectives import (
    FluencyTerm,
    MultiObjectiveLoss,
    NearTokensTerm,
    PromptBatch,
    SecondaryFluencyTerm,
    TextMatchTerm,
)
from fuse_repro.objectives.classifier import ClassifierTerm
from fuse_repro.prompts.batch import SoftPromptBatch
from fuse_repro.search import Linearisation, PromptProblem, Proposal
from fuse_repro.search.gradient import OpenPrompt
from fuse_repro.search.projection import project
from fuse_repro.search.token_gradients import token_gradients

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


MIXED = {
    "gpt2": (tiny_gpt2, lambda m: FluencyTerm(m)),
    "other_fluency": (tiny_llama, lambda m: SecondaryFluencyTerm("t", m)),
    "bert": (tiny_bert_encoder, lambda m: TextMatchTerm("t", m)),
    "clip": (tiny_clip, lambda m: TextMatchTerm("t", m)),
    "siglip": (tiny_siglip, lambda m: TextMatchTerm("t", m)),
    "head": (tiny_head, lambda m: ClassifierTerm("t", m)),
    "roberta_classifier": (tiny_roberta_classifier, lambda m: ClassifierTerm("t", m)),
}


def finer_than_bfloat16(values: torch.Tensor) -> bool:
    """Whether most of the values are none that bfloat16 has."""
    return bool((values.bfloat16().float() != values).float().mean() > 0.5)


@pytest.mark.parametrize("build", list(MIXED))
def test_terms_under_mixed_precision_are_float32(build: str) -> None:
    """What trainer.precision=bf16-mixed relies on: forward passes are rounded, what is made of them is not."""
    make, term_of = MIXED[build]
    term = term_of(make())
    targets = {"t": term.target(SENTENCES[0])} if hasattr(term, "target") else {}
    loss = MultiObjectiveLoss({"t": term}, {"t": 10.0})
    full = loss(PromptBatch(CANDIDATES, targets))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss(PromptBatch(CANDIDATES, targets))
    for values in (mixed.total, mixed.raw["t"], mixed.weighted["t"]):
        assert values.dtype == torch.float32
        assert finer_than_bfloat16(values.detach())
    assert spearman(full.total, mixed.total) > 0.9


def test_the_sum_under_mixed_precision_is_that_of_float32_terms() -> None:
    lm, encoder, classifier = tiny_gpt2(), tiny_clip(), tiny_head()
    text = TextMatchTerm("text", encoder)
    weights = {"fluency": 0.7, "text": 10.0, "mood": 2.0}
    terms = {"fluency": FluencyTerm(lm), "text": text, "mood": ClassifierTerm("mood", classifier)}
    loss = MultiObjectiveLoss(terms, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = loss(PromptBatch(CANDIDATES, {"text": text.target(SENTENCES[0])}))
    expected = sum(weights[name] * values.raw[name].double() for name in weights)
    torch.testing.assert_close(values.total.double(), expected, atol=1e-6, rtol=1e-6)
    assert len(values.total.unique()) == len(CANDIDATES)


def test_a_term_in_half_precision_is_summed_in_float32() -> None:
    class Half(torch.nn.Module):
        def forward(self, batch: PromptBatch) -> torch.Tensor:
            return torch.full((len(batch.texts),), 1.0078125, dtype=torch.bfloat16)

    values = MultiObjectiveLoss({"a": Half(), "b": Half()}, {"a": 10.1, "b": 0.001})(PromptBatch(["x"]))
    assert {v.dtype for v in (values.total, *values.raw.values(), *values.weighted.values())} == {
        torch.float32
    }
    assert float(values.total) == pytest.approx(1.0078125 * 10.101, rel=1e-6)


@pytest.mark.parametrize("zeroth", ["none", "alone", "context"])
def test_scores_of_candidates_under_mixed_precision(zeroth: str) -> None:
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    term = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder, WORDS))
    problem = PromptProblem(
        lm, MultiObjectiveLoss({"text": term}, {"text": 10.0}), "An image", {"text": term.target("A cat")}
    )
    settings = Proposal(linearisation=Linearisation(count=6), zeroth=zeroth, calibrated=zeroth != "none")
    found = [predicted(settings, problem)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found.append(predicted(settings, problem))
    full, mixed = found
    assert mixed.dtype == torch.float32
    assert finer_than_bfloat16(mixed)
    assert spearman(full, mixed) > 0.9
    # No more ties than without: rounded to 8 bits, hundreds of tokens would share a score.
    assert len(mixed.unique()) > 0.98 * len(full.unique())


def predicted(settings: Proposal, problem: PromptProblem) -> torch.Tensor:
    log_probs = torch.zeros(1, problem.lm.tokenizer.vocab_size)
    return settings.predict(problem, [OpenPrompt("An image")], log_probs)[0].detach()


@pytest.mark.parametrize("fitted", [LookupMap, FuseAdapterModule])
def test_gradients_by_tokens_under_mixed_precision(fitted: type) -> None:
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    term = TextMatchTerm("text", encoder, fitted.fit(lm, encoder, WORDS))
    loss = MultiObjectiveLoss({"text": term, "fluency": FluencyTerm(lm)})
    problem = PromptProblem(lm, loss, "An image", {"text": term.target("A cat")})
    prompts = [tuple(lm.tokenizer.encode(["An image of a dog"])[0])]
    places = [len(prompts[0]) - 1]
    full = token_gradients(problem, prompts)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = token_gradients(problem, prompts)
        scores = mixed.scores(0, places)
    assert {mixed.embeddings.dtype, mixed.nll.dtype, scores.dtype} == {torch.float32}
    assert finer_than_bfloat16(scores)
    assert spearman(full.scores(0, places)[0], scores[0]) > 0.9


def test_nearest_tokens_under_mixed_precision() -> None:
    lm = tiny_gpt2()
    problem = PromptProblem(lm, MultiObjectiveLoss({"fluency": FluencyTerm(lm)}), "An image", {})
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(8, 3, lm.embedding_size, generator=draw)
    expected = project(problem, vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert project(problem, vectors) == expected


def test_a_photograph_under_mixed_precision() -> None:
    """The mixture of label embeddings is taken in float32; only the classifier is rounded."""
    conse = tiny_conse()
    image = Image.effect_noise((40, 40), 60)
    labels = conse.label_embeddings
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = conse.encode_images([image])
    weights = torch.linalg.lstsq(labels.T, found[:, None]).solution
    assert found.dtype == torch.float32
    torch.testing.assert_close(labels.T @ weights, found[:, None], atol=1e-5, rtol=1e-5)
    assert finer_than_bfloat16(found)


@pytest.mark.parametrize("build", ["bert", "clip", "head"])
@pytest.mark.parametrize("context", [False, True])
def test_estimates_under_mixed_precision(build: str, context: bool) -> None:
    make, term_of = MIXED[build]
    term, lm = term_of(make()), tiny_gpt2()
    targets = {"t": term.target(SENTENCES[0])} if hasattr(term, "target") else {}
    table = term.word_table(lm)
    batch = PromptBatch(["An image of a"], targets)
    expected = term.word_estimates(batch, table, context)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = term.word_estimates(batch, table, context)
    torch.testing.assert_close(found, expected)


@pytest.fixture
def tf32() -> Iterator[None]:
    """What trainer.matmul=high sets; a CPU has no TF32, and computes as before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def state() -> tuple[bool, str]:
    return torch.is_autocast_enabled("cpu"), torch.get_float32_matmul_precision()


def test_what_is_compared_is_neither_mixed_nor_tf32(tf32: None) -> None:
    cpu = torch.device("cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with full_precision(cpu):
            assert state() == (False, "highest")
            with full_precision(cpu):
                pass
            assert state() == (False, "highest")
        with as_forward(cpu):  # models may take TF32 on the way back, too
            assert state() == (False, "high")
        with pytest.raises(ZeroDivisionError), full_precision(cpu):
            _ = 1 / 0
        assert state() == (True, "high")


def test_a_map_pulls_gradients_back_in_full_precision(tf32: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    term = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder, WORDS))
    problem = PromptProblem(
        lm, MultiObjectiveLoss({"text": term}), "An image", {"text": term.target("A cat")}
    )
    seen, pullback = set(), LookupMap.pullback

    def noted(adapter: LookupMap, gradient: torch.Tensor, alignment: Alignment) -> torch.Tensor:
        seen.add(state())
        return pullback(adapter, gradient, alignment)

    monkeypatch.setattr(LookupMap, "pullback", noted)
    prompts = [tuple(lm.tokenizer.encode(["An image of a dog"])[0])]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        token_gradients(problem, prompts)
    assert seen == {(False, "highest")}


def test_distances_to_tokens_under_mixed_precision() -> None:
    lm = tiny_gpt2()
    draw = torch.Generator().manual_seed(0)
    batch = SoftPromptBatch(torch.randn(4, 3, lm.embedding_size, generator=draw))
    expected = NearTokensTerm(lm)(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(NearTokensTerm(lm)(batch), expected, rtol=1e-6, atol=1e-6)


def test_gradients_by_tokens_in_half_precision() -> None:
    """trainer.precision=16-mixed: gradients are not scaled, and small ones must not vanish."""
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    term = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder, WORDS))
    loss = MultiObjectiveLoss({"text": term, "fluency": FluencyTerm(lm)})
    problem = PromptProblem(lm, loss, "An image", {"text": term.target("A cat")})
    prompts = [tuple(lm.tokenizer.encode(["An image of a dog"])[0])]
    full = token_gradients(problem, prompts).scores(0, [3])[0]
    with torch.autocast("cpu", dtype=torch.float16):
        half = token_gradients(problem, prompts).scores(0, [3])[0]
    assert spearman(full, half) > 0.99
