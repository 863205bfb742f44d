"""Networks from a word's embeddings in one model to its embeddings in another.

A word has s tokens in the source and t in the target. The target's tokenizer says what t is, so nothing has to be
generated: the network is asked for t rows at once. Words of equal s and t go through together, without padding.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from fuse_repro.adapters.trained.settings import MLP, TRANSFORMER, TrainedSettings


class WordNetwork(nn.Module, ABC):
    """[N, s, d_s] and t -> [N, t, d_t].

    Inputs are seen from `source_mean` in units of `source_scale`, and outputs likewise.

    Attributes:
        source_mean: [d_s].
        source_scale: [].
        target_mean: [d_t].
        target_scale: [].
    """

    source_mean: Tensor
    source_scale: Tensor
    target_mean: Tensor
    target_scale: Tensor

    def __init__(self, d_s: int, d_t: int) -> None:
        super().__init__()
        for side, size in (("source", d_s), ("target", d_t)):
            self.register_buffer(f"{side}_mean", torch.zeros(size))
            self.register_buffer(f"{side}_scale", torch.ones(()))

    def forward(self, rows: Tensor, count: int) -> Tensor:
        """Embeddings [N, s, d_s] of N words -> [N, t, d_t], in both models' own units.

        Args:
            rows: of the words' tokens in the source.
            count: t, how many tokens each of the words has in the target.
        """
        return self.translate(self.read(rows), count) * self.target_scale + self.target_mean

    def read(self, rows: Tensor) -> Tensor:
        """Source embeddings in the network's units."""
        return (rows - self.source_mean) / self.source_scale

    def aim(self, rows: Tensor) -> Tensor:
        """Target embeddings in the network's units."""
        return (rows - self.target_mean) / self.target_scale

    @abstractmethod
    def translate(self, rows: Tensor, count: int) -> Tensor:
        """As `forward`, in the network's units."""


class MeanNetwork(WordNetwork):
    """Every target token is one function of the mean of the word's source tokens, as `pull_linear` has it.

    The function is one linear layer, or two with a GELU between.
    """

    def __init__(self, d_s: int, d_t: int, hidden: int | None = None) -> None:
        """Draw the weights.

        Args:
            d_s: the source's embedding size.
            d_t: the target's.
            hidden: units between the two layers; None for one layer, which starts from zero.
        """
        super().__init__(d_s, d_t)
        self.body: nn.Module = nn.Linear(d_s, d_t)
        if hidden is None:
            _zero(self.body)
        else:
            self.body = nn.Sequential(nn.Linear(d_s, hidden), nn.GELU(), nn.Linear(hidden, d_t))

    def translate(self, rows: Tensor, count: int) -> Tensor:
        """See `WordNetwork.translate`."""
        said: Tensor = self.body(rows.mean(1))
        return said.unsqueeze(1).expand(-1, count, -1)


class TransformerNetwork(WordNetwork):
    """A linear function of the mean, and what a transformer adds to it.

    The transformer reads s projected embeddings, each with its place, and behind them t learnt queries, each made of
    its place and of t. All see all. What it has at the queries is projected to the target's space. A place beyond
    `max_tokens` counts as the last one.

    The linear part has the full rank of both spaces, which a narrow transformer has not. The projection out of the
    transformer starts from zero, so that training begins at the linear part.
    """

    def __init__(self, d_s: int, d_t: int, width: int, layers: int, heads: int, max_tokens: int) -> None:
        """Draw the weights.

        Args:
            d_s: the source's embedding size.
            d_t: the target's.
            width: of the transformer.
            layers: how many.
            heads: of every layer.
            max_tokens: how many places are told apart on each side.
        """
        super().__init__(d_s, d_t)
        self.linear = _zero(nn.Linear(d_s, d_t))
        self.into = nn.Linear(d_s, width)
        self.places = nn.Embedding(max_tokens, width)
        self.queries = nn.Embedding(max_tokens, width)
        self.lengths = nn.Embedding(max_tokens, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(width)
        self.body = nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)
        self.out = _zero(nn.Linear(width, d_t))

    def translate(self, rows: Tensor, count: int) -> Tensor:
        """See `WordNetwork.translate`."""
        last = self.places.num_embeddings - 1
        here, there = (
            torch.arange(size, device=rows.device).clamp_max(last) for size in (rows.shape[1], count)
        )
        asked = self.queries(there) + self.lengths(there[-1:])
        read = self.into(rows) + self.places(here)
        states = self.body(torch.cat([read, asked.expand(len(rows), -1, -1)], dim=1))
        return self.linear(rows.mean(1, keepdim=True)) + self.out(states[:, -count:])


def make_network(d_s: int, d_t: int, settings: TrainedSettings) -> WordNetwork:
    """The network of these settings with the weights that its seed draws; the global generators are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.architecture == TRANSFORMER:
            sizes = (settings.width, settings.layers, settings.heads, settings.max_tokens)
            return TransformerNetwork(d_s, d_t, *sizes)
        return MeanNetwork(d_s, d_t, settings.width if settings.architecture == MLP else None)


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
