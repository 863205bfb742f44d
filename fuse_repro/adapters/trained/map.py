"""The trained map: a network from a word's embeddings in one model to those in another, and its Jacobian."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, astuple, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap, fit_values, pick
from fuse_repro.adapters.prompt_checks import check_prompt
from fuse_repro.adapters.trained.fitting import train
from fuse_repro.adapters.trained.network import WordNetwork, make_network
from fuse_repro.adapters.trained.settings import TrainedSettings
from fuse_repro.adapters.trained.training import TrainingCost
from fuse_repro.adapters.trained.words import Shape, word_groups
from fuse_repro.alignment.pairs import Alignment, WordPair, pad_ids
from fuse_repro.alignment.words import Tokenized
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.storage import tensors as store

FORMAT = 1
COST = "cost"


class TrainedMap(EmbeddingMap):
    """What FUSE's closed form saves: a mapping learnt "through supervised learning of a transformer" (its conclusion).

    Attributes:
        network: [N, s, d_s] and t -> [N, t, d_t]; it takes no gradient of its own.
        training_cost: what its training took, whenever that was.
    """

    def __init__(
        self, source: FrozenModel, target: FrozenModel, network: WordNetwork, cost: TrainingCost
    ) -> None:
        super().__init__(source, target)
        self.network = network.to(source.device).requires_grad_(False).eval()
        self.training_cost = cost

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str],
        *,
        cache_dir: Path | None = None,
        architecture: str = "transformer",
        max_tokens: int = 4,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        steps: int = 1000,
        batch_size: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        noise: float = 0.5,
        holdout: int = 500,
        looks: int = 20,
        seed: int = 0,
    ) -> Self:
        """Train on the embeddings of `words` in both models, or find the network in `cache_dir`.

        A training that was stopped goes on from what `cache_dir` has of it. The settings are the fields of
        `TrainedSettings`, which says what they are.

        Raises:
            UsageError: a setting out of range, hardly a word that can be used, or training that diverges.
        """
        settings = TrainedSettings(
            architecture=architecture,
            max_tokens=max_tokens,
            width=width,
            layers=layers,
            heads=heads,
            steps=steps,
            batch_size=batch_size,
            lr=lr,
            weight_decay=weight_decay,
            noise=noise,
            holdout=holdout,
            looks=looks,
            seed=seed,
        )
        network = make_network(source.embedding_size, target.embedding_size, settings).to(source.device)
        expect = {re.escape(name): store.Expected(tuple(v.shape)) for name, v in network.state_dict().items()}
        expect[COST] = store.Expected((len(fields(TrainingCost)),), torch.float64)
        inputs = _inputs(source, target, words, settings)
        path = None if cache_dir is None else store.cache_path(cache_dir, inputs)

        def make() -> dict[str, Tensor]:
            data = word_groups(source, target, words, max_tokens, holdout, seed)
            folder = None if path is None else path.with_suffix(".training")
            state, cost = train(network, (source, target), data, settings, folder)
            return {**state, COST: torch.tensor(astuple(cost), dtype=torch.float64)}

        found = store.kept(cache_dir, inputs, expect, make)
        cost = TrainingCost(*found[COST].tolist())
        network.load_state_dict({name: value for name, value in found.items() if name != COST})
        return cls(source, target, network, cost)

    @property
    def fit_cost(self) -> dict[str, float]:
        """See `EmbeddingMap.fit_cost`; the fields of `TrainingCost`."""
        return asdict(self.training_cost)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`."""
        pick(TrainedSettings, fit_values(cls.fit, settings))

    def align(self, texts: Sequence[str], source: Sequence[Tokenized] | None = None) -> Alignment:
        """See `EmbeddingMap.align`; the point is that of the texts' own tokens."""
        tokens = self.source.tokenizer.split(texts) if source is None else source
        ids, _ = pad_ids([text.ids for text in tokens], self.source.device)
        return replace(super().align(texts, tokens), point=self.source.embed(ids).detach())

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t], every row taken as a word of one token in both models.

        Raises:
            UsageError: a prompt of another shape, or with NaN or infinite values.
        """
        check_prompt(prompt, self.source)
        moved: Tensor = self.network(prompt.to(self._like).unsqueeze(1), 1)
        return moved.squeeze(1).to(prompt)

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient [B, S_t, d_t] -> [B, S_s, d_s] through the network's Jacobian at the point of every word."""
        return self.pull_tokens(gradient, alignment, range(alignment.source_length))

    def pull_tokens(self, gradient: Tensor, alignment: Alignment, positions: Sequence[int]) -> Tensor:
        """See `EmbeddingMap.pull_tokens`; the coordinates are those of embeddings.

        Raises:
            UsageError: an alignment that does not say where the network is linearised.
        """
        point = alignment.point
        if point is None:
            raise UsageError(
                "a trained map is not linear, and this alignment does not say at which embeddings to take its slope: "
                "make it with the map's own align, or pull the gradient back through embed"
            )
        groups: dict[Shape, list[WordPair]] = defaultdict(list)
        for word in alignment.words_of(positions):
            groups[word.source_count, word.target_count].append(word)
        whole = gradient.new_zeros(alignment.rows, alignment.source_length, self.source.embedding_size)
        for (s, t), words in groups.items():
            where = torch.tensor([(w.row, w.source_start, w.target_start) for w in words])
            rows, own, other = where.to(gradient.device).unsqueeze(2).unbind(1)  # [N, 1] each
            own, other = (
                start + torch.arange(size, device=gradient.device) for start, size in ((own, s), (other, t))
            )
            whole[rows, own] = self._pulled(point[rows, own], gradient[rows, other]).to(gradient)
        return whole[:, list(positions)]

    def _pulled(self, rows: Tensor, gradient: Tensor) -> Tensor:
        """The vector-Jacobian product of N words of one shape: [N, s, d_s] and [N, t, d_t] -> [N, s, d_s]."""
        with torch.enable_grad():
            read = rows.detach().to(self._like).requires_grad_(True)
            said = self.network(read, gradient.shape[1])
        (pulled,) = torch.autograd.grad(said, read, gradient.to(self._like))
        return pulled

    @property
    def _like(self) -> Tensor:
        """A tensor of the device and dtype in which the network computes."""
        return self.network.source_mean


def _inputs(
    source: FrozenModel, target: FrozenModel, words: Sequence[str], settings: TrainedSettings
) -> dict[str, Any]:
    """All that the network depends on."""
    return {
        "kind": "trained",
        "format": FORMAT,
        "source": source.fingerprint,
        "target": target.fingerprint,
        "words": store.words_digest(words),
        "settings": asdict(settings),
    }
