"""Mini masked language models before training: BERT with a few layers, its vocabulary made from the corpus.

Token embeddings are drawn at random, or taken from a teacher: a real model's embeddings of the same
spellings, cut to their principal directions and turned by a random rotation. Two mini models with one teacher
then share relative structure by construction, as large pretrained models do by having read the same language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.mini_tokenizer import KINDS

EMBEDDINGS = ("own", "start", "kept")


@dataclass(frozen=True)
class MiniLMSettings:
    """What a mini model is and how it is trained.

    Attributes:
        tokenizer: `wordpiece` or `unigram`.
        words: how many words are one token; see `make_tokenizer`.
        pieces: how many pieces of words the vocabulary holds; see `make_tokenizer`.
        width: d, the embedding size.
        layers: of the transformer.
        heads: of each layer.
        embeddings: `own` (random, trained), `start` (the teacher's, trained) or `kept` (the teacher's,
            frozen).
        spread: standard deviation of the values of the embedding table at the start.
        steps: of AdamW.
        batch_size: statements per step.
        lr: the highest learning rate, with a warm-up over 5% of the steps and linear decay.
        seed: of everything random.
    """

    tokenizer: str = "wordpiece"
    words: int = 2500
    pieces: int = 400
    width: int = 128
    layers: int = 2
    heads: int = 4
    embeddings: str = "kept"
    spread: float = 0.1
    steps: int = 1000
    batch_size: int = 128
    lr: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.tokenizer in KINDS, "tokenizer", self.tokenizer, f"one of {', '.join(KINDS)}")
        known = f"one of {', '.join(EMBEDDINGS)}"
        require(self.embeddings in EMBEDDINGS, "embeddings", self.embeddings, known)
        for name in ("words", "width", "layers", "heads", "steps", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.width % self.heads == 0, "width", self.width, f"a multiple of heads={self.heads}")
        for name in ("spread", "lr"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(self.pieces >= 0, "pieces", self.pieces, "0 or more")


def untrained(
    settings: MiniLMSettings, tokenizer: PreTrainedTokenizerFast, table: Tensor | None
) -> BertForMaskedLM:
    """The model at its start; `table` [V, d] are its token embeddings, None for random ones."""
    config: Any = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=4 * settings.width,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        type_vocab_size=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = BertForMaskedLM._from_config(config, attn_implementation="sdpa")
        weight = model.get_input_embeddings().weight
        with torch.no_grad():
            weight.copy_(torch.randn(weight.shape) * settings.spread if table is None else table)
    weight.requires_grad_(settings.embeddings != "kept")
    return model


def teacher_table(
    teacher: FrozenModel, tokenizer: WordTokenizer, width: int, spread: float, seed: int
) -> Tensor:
    """Embeddings [V, width] of a tokenizer's tokens, from what the teacher's table holds for their spellings.

    A spelling of several of the teacher's tokens gets their mean. The teacher's `width` directions of largest
    variance are kept and turned by a random rotation; then all is scaled to `spread`. Special tokens, and
    spellings that the teacher cannot read, are drawn at random.

    Args:
        teacher: the model whose embeddings are taken.
        tokenizer: of the mini model, V tokens.
        width: the mini model's embedding size.
        spread: standard deviation of the table's values.
        seed: of the rotation and of the rows drawn at random.

    Raises:
        UsageError: a width above the teacher's embedding size.
    """
    require(
        width <= teacher.embedding_size, "width", width, f"at most {teacher.embedding_size}, the teacher's"
    )
    generator = torch.Generator().manual_seed(seed)
    known = teacher.embedding_table().to("cpu", torch.float64)
    known = known - known.mean(0)
    _, directions = torch.linalg.eigh(known.T @ known)
    rotation, _ = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))
    small = known @ (directions[:, -width:] @ rotation)
    table = torch.randn(tokenizer.vocab_size, width, generator=generator, dtype=torch.float64) * small.std()
    for token, ids in enumerate(_readings(teacher, tokenizer)):
        if ids:
            table[token] = small[list(ids)].mean(0)
    return (table * (spread / table.std())).float()


def _readings(teacher: FrozenModel, tokenizer: WordTokenizer) -> Sequence[Sequence[int]]:
    """For every token, the teacher's tokens for its spelling; () for special ones and unreadable ones."""
    spelled = tokenizer.decode([[token] for token in range(tokenizer.vocab_size)])
    words = [text.strip().removeprefix("##") for text in spelled]
    read = teacher.tokenizer.encode(words)
    return [
        () if token in tokenizer.special_ids or set(ids) & teacher.tokenizer.special_ids else ids
        for token, ids in enumerate(read)
    ]
