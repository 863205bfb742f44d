"""Mixed precision and TF32: how far objectives may be from float64, and that screened searches are exact."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from closeness import distance
from tiny_models import tiny_bert_encoder, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import LookupMap
from fuse_repro.metrics.fidelity import spearman
from fuse_repro.models.precision import full_precision, low_precision, multiplies_bfloat16, multiplies_tf32
from fuse_repro.objectives import FluencyTerm, MultiObjectiveLoss, PromptBatch, TextMatchTerm
from fuse_repro.search import AutoDAN, PromptProblem
from fuse_repro.search.token_gradients import token_gradients

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TEXTS = [f"An image of a {word}" for word in WORDS]
REFERENCE = {"device": torch.device("cpu"), "dtype": torch.float64}
# |found - expected| / |expected|: products of 8 bits (bfloat16), of 11 bits (TF32), of 24 (float32)
CLOSE = {"bf16-mixed": 2e-2, "tf32": 2e-3, "full": 1e-5}
GRADIENTS = {"bf16-mixed": 1e-1, "tf32": 1e-2, "full": 1e-4}


def problem_of(where: dict) -> PromptProblem:
    lm, encoder = tiny_gpt2().to(**where), tiny_bert_encoder().to(**where)
    term = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder, WORDS))
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": term}, {"text": 20.0})
    return PromptProblem(lm, objective, "An image of", {"text": term.target("A cat on a table.")})


@pytest.fixture
def high() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def computed(problem: PromptProblem) -> tuple[torch.Tensor, torch.Tensor]:
    """The objective of all texts, and the scores of every token in the last place of one."""
    prompts = [tuple(problem.lm.tokenizer.encode(TEXTS[:1])[0])]
    with torch.no_grad():
        values = problem.objective(PromptBatch(TEXTS, problem.targets)).total
    return values, token_gradients(problem, prompts).scores(0, [len(prompts[0]) - 1])[0]


@pytest.mark.parametrize("kind", CLOSE)
def test_objectives_and_gradients(kind: str, device: torch.device, high: None) -> None:
    if device.type == "cuda" and not (multiplies_bfloat16(device) and multiplies_tf32(device)):
        pytest.skip("this GPU has neither bfloat16 nor TF32")
    expected, slopes = computed(problem_of(REFERENCE))
    problem = problem_of({"device": device})
    context = {"bf16-mixed": low_precision, "full": full_precision, "tf32": lambda _: torch.enable_grad()}[
        kind
    ]
    with context(device):
        found, gradients = computed(problem)
    assert found.dtype == gradients.dtype == torch.float32
    assert distance(found, expected) < CLOSE[kind]
    assert distance(gradients, slopes) < GRADIENTS[kind]
    assert spearman(found.cpu(), expected) > 0.98
    assert spearman(gradients.cpu(), slopes) > 0.98


@pytest.mark.gpu
def test_a_gpu_rounds_products_and_full_precision_does_not(high: None) -> None:
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(512, 512, generator=draw) for _ in range(2))
    exact, cuda = left.double() @ right.double(), torch.device("cuda")
    rounded = left.cuda() @ right.cuda()
    with full_precision(cuda):
        full = left.cuda() @ right.cuda()
    assert distance(full, exact) < 1e-6
    assert distance(rounded, exact) > 20 * distance(full, exact)


def test_a_screened_search_finds_what_float32_finds(device: torch.device) -> None:
    problem = problem_of({"device": device})
    search = AutoDAN(candidates=16, beam=3, max_new_tokens=4, stop="never")
    plain = search.search(problem)
    all_again = replace(search, screen=16).search(problem)
    assert [[h.text for h in beam] for beam in all_again.steps] == [
        [h.text for h in beam] for beam in plain.steps
    ]
    for screen in (3, 8):
        found = replace(search, screen=screen).search(problem)
        texts = [h.text for h in found.steps[-1]]
        exact = problem.objective(PromptBatch(texts, problem.targets)).total.tolist()
        assert [h.objective for h in found.steps[-1]] == pytest.approx(exact, rel=1e-4)
        assert found.best.objective == pytest.approx(plain.best.objective, rel=5e-2)
