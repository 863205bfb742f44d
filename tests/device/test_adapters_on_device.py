"""Maps: fitted, gradients pulled back, prompts moved."""

from typing import Any

import pytest
import torch
from closeness import distance, pair
from tiny_models import tiny_bert_encoder, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import (
    AutoMap,
    DiscretisedMap,
    EmbeddingMap,
    FuseAdapterModule,
    LocalMap,
    LookupMap,
    ProcrustesMap,
    ProjectorMap,
    RandomMap,
    RelativePromptTransfer,
    RidgeMap,
    SparseMap,
    TrainedMap,
)

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TEXTS = ["An image of a zigzag surfboard", "A cat."]
MAPS: dict[str, tuple[type[EmbeddingMap], dict[str, Any]]] = {
    "fuse": (FuseAdapterModule, {"max_tokens": 4}),
    "lookup": (LookupMap, {}),
    "ridge": (RidgeMap, {}),
    "procrustes": (ProcrustesMap, {}),
    "random": (RandomMap, {}),
    "relative": (RelativePromptTransfer, {}),
    "sparse": (SparseMap, {}),
    "local": (LocalMap, {}),
    "auto": (AutoMap, {}),
    "trained": (TrainedMap, {"width": 8, "layers": 1, "steps": 20, "batch_size": 8}),
}
MOVES = {
    "ridge": MAPS["ridge"],
    "procrustes": MAPS["procrustes"],
    "discretise": (DiscretisedMap, {}),
    "projector": (ProjectorMap, {"holdout": 4, "epochs": 3}),
    "relative": MAPS["relative"],
    "sparse": MAPS["sparse"],
    "sparse_sums": (SparseMap, {"non_negative": True, "whiten": False, "remainder": False}),
    "local": MAPS["local"],
    "auto": MAPS["auto"],
    "trained": MAPS["trained"],
    "relative_adam": (RelativePromptTransfer, {"solver": "adam", "steps": 60, "rescale": "after"}),
    "relative_masked": (RelativePromptTransfer, {"k": 20, "centre": True, "whiten": True}),
}


@pytest.mark.parametrize("name", MAPS)
def test_gradients_are_pulled_back_alike(name: str, device: torch.device) -> None:
    kind, settings = MAPS[name]
    gradients = []
    for lm, encoder in zip(pair(tiny_gpt2, device), pair(tiny_bert_encoder, device), strict=True):
        adapter = kind.fit(lm, encoder, WORDS, **settings)
        alignment = adapter.align(TEXTS)
        shape = (*alignment.target_ids.shape, encoder.embedding_size)
        gradient = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        pulled = adapter.pullback(gradient.to(lm.device, lm.dtype), alignment)
        assert pulled.device == lm.device
        gradients.append(pulled)
    expected, found = gradients
    assert distance(found, expected) < 2e-3


@pytest.mark.parametrize("name", MOVES)
def test_prompts_are_moved_alike(name: str, device: torch.device) -> None:
    kind, settings = MOVES[name]
    moved = []
    for lm, encoder in zip(pair(tiny_gpt2, device), pair(tiny_bert_encoder, device), strict=True):
        adapter = kind.fit(lm, encoder, WORDS, **settings)
        ids = torch.tensor(lm.tokenizer.encode([TEXTS[0]])[0], device=lm.device)
        prompt = adapter.transfer(lm.embed(ids) + 0.01)
        assert prompt.device == encoder.device
        moved.append(prompt)
    expected, found = moved
    assert distance(found, expected) < 5e-3


def test_texts_pass_through_an_adapter_unchanged(device: torch.device) -> None:
    lm, encoder = tiny_gpt2().to(device), tiny_bert_encoder().to(device)
    adapter = FuseAdapterModule.fit(lm, encoder, WORDS)
    alignment = adapter.align(TEXTS[:1])
    ids = torch.tensor(lm.tokenizer.encode(TEXTS[:1]), device=device)
    passed = adapter.embed(lm.embed(ids).requires_grad_(True), alignment)
    assert torch.equal(passed, encoder.embed(alignment.target_ids))
