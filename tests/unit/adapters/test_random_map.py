import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gpt2

from fuse_repro.adapters import RandomMap


@pytest.mark.parametrize("seed", [0, 1])
def test_mapped_embeddings_are_as_long_as_the_targets_own(seed: int) -> None:
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    embedding_map = RandomMap.fit(lm, encoder, (), seed=seed)
    mapped = embedding_map.transfer(lm.embedding_table())
    ratio = mapped.square().sum(1).mean() / encoder.embedding_table().square().sum(1).mean()
    assert 0.5 < float(ratio) < 2


def test_the_same_seed_gives_the_same_pullback() -> None:
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    maps = [RandomMap.fit(lm, encoder, (), seed=seed) for seed in (0, 0, 1)]
    alignment = maps[0].align(["An image of a surfboard."])
    gradient = torch.randn(*alignment.target_ids.shape, encoder.embedding_size)
    pulled = [embedding_map.pullback(gradient, alignment) for embedding_map in maps]
    assert torch.equal(pulled[0], pulled[1])
    assert not torch.allclose(pulled[0], pulled[2])
