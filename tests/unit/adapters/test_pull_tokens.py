"""The gradient of some tokens only, against the pullback of all of them."""

from collections.abc import Callable

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import (
    FuseAdapterModule,
    LocalMap,
    LookupMap,
    ProcrustesMap,
    ProjectorMap,
    RandomMap,
    RidgeMap,
    SparseMap,
    TrainedMap,
)
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.spans import span_sums

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TEXTS = ("An image of a zigzag surfboard", "dog", "The wooden astronauts' table")
MAPS = {
    "fuse": FuseAdapterModule.fit,
    "fuse_pairs": lambda *parts: FuseAdapterModule.fit(*parts, group_by="pair"),
    "fuse_released": lambda *parts: FuseAdapterModule.fit(*parts, compat="released"),
    "fuse_beyond": lambda *parts: FuseAdapterModule.fit(*parts, max_tokens=1),
    "fuse_cut": lambda *parts: FuseAdapterModule.fit(*parts, compat="truncate_source"),
    "projector": lambda *parts: ProjectorMap.fit(*parts, hidden=8, holdout=2, epochs=1),
    "procrustes": ProcrustesMap.fit,
    "random": RandomMap.fit,
    "ridge": RidgeMap.fit,
    "sparse": SparseMap.fit,
    "local": LocalMap.fit,
    "trained": lambda *parts: TrainedMap.fit(*parts, width=8, layers=1, steps=4, batch_size=4),
}


@pytest.mark.parametrize("fit", MAPS.values(), ids=MAPS)
def test_some_tokens_get_what_all_get(fit: Callable[..., EmbeddingMap]) -> None:
    """At places inside and outside of a row's text, in any order."""
    fitted = fit(tiny_gpt2(), tiny_bert_encoder(), WORDS)
    alignment = fitted.align(TEXTS)
    gradient = torch.randn(3, alignment.target_ids.shape[1], 32, generator=torch.Generator().manual_seed(0))
    whole = fitted.pullback(gradient, alignment)
    assert whole.shape == (3, alignment.source_length, 32)
    for positions in ([0], [alignment.source_length - 1], [5, 2, 3], range(alignment.source_length)):
        some = fitted.pull_tokens(gradient, alignment, positions)
        torch.testing.assert_close(some, whole[:, list(positions)], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fitted.pull_token(gradient, alignment, 2), whole[:, 2], atol=1e-5, rtol=1e-5)


def test_tokens_of_the_lookup_are_pulled_alike_one_by_one_and_together() -> None:
    fitted = LookupMap.fit(tiny_gpt2(), tiny_bert_encoder(), WORDS)
    alignment = fitted.align(TEXTS)
    gradient = torch.randn(3, alignment.target_ids.shape[1], 32)
    together = fitted.pull_tokens(gradient, alignment, [4, 0, 1])
    for column, position in enumerate([4, 0, 1]):
        assert torch.equal(together[:, column], fitted.pull_token(gradient, alignment, position))
    assert not fitted.pull_token(gradient, alignment, alignment.source_length - 1)[1].any()


def test_span_sums() -> None:
    gradient = torch.arange(24.0).view(2, 4, 3)
    sums = span_sums(gradient, [(0, 1, 3), (1, 3, 4), (1, 0, 0), (0, 0, 4)])
    expected = torch.stack([gradient[0, 1:3].sum(0), gradient[1, 3], torch.zeros(3), gradient[0].sum(0)])
    assert torch.equal(sums, expected)
    assert torch.equal(span_sums(gradient, [(0, 2, 2)]), torch.zeros(1, 3))
    assert span_sums(gradient, []).shape == (0, 3)
