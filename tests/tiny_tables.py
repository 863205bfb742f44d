"""Models that are an embedding table and a tokenizer, for tests of maps: `from tiny_tables import table_model`."""

import torch
from tiny_tokenizers import byte_level_bpe, clip_bpe, metaspace_bpe, metaspace_unigram, wordpiece
from torch import Tensor, nn

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.models.base import FrozenModel

MERGES = 300
TOKENIZERS = {
    "byte_level_bpe": byte_level_bpe,
    "wordpiece": wordpiece,
    "metaspace_unigram": metaspace_unigram,
    "metaspace_bpe": metaspace_bpe,
    "clip_bpe": clip_bpe,
}


class _Table(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(weight)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding


def table_model(tokenizer: str, size: int, seed: int = 0, table: Tensor | None = None) -> FrozenModel:
    """A FrozenModel of one of TOKENIZERS with random embeddings of `size`, or with those of `table` [V, d]."""
    words = WordTokenizer(TOKENIZERS[tokenizer](MERGES))
    if table is None:
        generator = torch.Generator().manual_seed(seed)
        offset = torch.randn(size, generator=generator)
        table = torch.randn(words.vocab_size, size, generator=generator) + 0.5 * offset
    return FrozenModel(_Table(table), words, name=f"{tokenizer}_{table.shape[1]}_{seed}")


def related_model(
    model: FrozenModel, tokenizer: str, size: int, noise: float = 0.0, seed: int = 1
) -> FrozenModel:
    """A model of another tokenizer whose words are a linear image of those of `model`, up to noise."""
    from fuse_repro.adapters.anchors import shared_anchors

    other = table_model(tokenizer, size, seed)
    anchors = shared_anchors([model, other])
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(model.embedding_size, size, generator=generator) / model.embedding_size**0.5
    table = other.embedding_table().clone()
    image = model.embed(anchors.source_ids) @ mixing
    table[anchors.target_ids] = image + noise * torch.randn(image.shape, generator=generator)
    return table_model(tokenizer, size, seed, table)
