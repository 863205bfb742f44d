"""The FUSE adapter (arXiv 2408.04816): exact re-tokenisation forward, t-algebra pullback backward."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.fuse.config import FuseConfig
from fuse_repro.adapters.fuse.fit import Key, fit_maps, fit_shared_map, group_words
from fuse_repro.adapters.fuse.pull import pull_words, random_tensor_map
from fuse_repro.alignment.pairs import Alignment, WordPair, same_tokenizer
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.storage import tensors as store

FORMAT = 1


class FuseAdapterModule(EmbeddingMap):
    """Carries gradients between models of different tokenizers, word by word.

    >>> adapter = FuseAdapterModule.fit(lm, encoder, words)
    >>> loss(adapter(embeddings, text)).backward()

    `embeddings` [S_s, d_s] are the source model's embeddings of `text`; the adapter returns the target's own
    embeddings of that text [S_t, d_t]; backward pulls each word's gradient through the map
    T = V_s^+ * V_t fitted for words of its length (paper, eq. 5 and Algorithm 1).

    The maps [d_s, d_t, n] are buffers, one per word length.
    """

    def __init__(
        self,
        source: FrozenModel,
        target: FrozenModel,
        maps: Mapping[Key, Tensor],
        config: FuseConfig,
        inputs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(source, target, shared_tokenizer=_is_shared(source, target, config))
        self.config = config
        self.inputs = dict(inputs or {})
        self.keys = tuple(sorted(maps))
        for key in self.keys:
            self.register_buffer(_buffer_name(key), maps[key].to(source.device))
        self._beyond: dict[int, Tensor] = {}

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str],
        *,
        cache_dir: Path | None = None,
        **settings: Any,
    ) -> FuseAdapterModule:
        """Fit on the embeddings of `words` in both models; `settings` are those of FuseConfig.

        With `cache_dir` the maps are kept there and found again. Raises UsageError for a setting out of
        range and where no word can be used.
        """
        return cls.from_config(FuseConfig(**settings), source, target, words, cache_dir)

    @classmethod
    def from_config(
        cls,
        config: FuseConfig,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str],
        cache_dir: Path | None = None,
    ) -> FuseAdapterModule:
        """As `fit`, with the settings in one object."""
        inputs = {
            "kind": "fuse",
            "format": FORMAT,
            "source": source.fingerprint,
            "target": target.fingerprint,
            "words": store.words_digest(words),
            "settings": config.fit_inputs(),
        }
        path = None if cache_dir is None else store.cache_path(cache_dir, inputs)
        if path is not None and path.exists():
            with contextlib.suppress(UsageError):  # a damaged file is fitted again and replaced
                return cls.load(path, source, target, config)
        if _is_shared(source, target, config):
            maps: dict[Key, Tensor] = {(1,): fit_shared_map(source, target, config)}
        else:
            maps = fit_maps(source, target, group_words(source, target, words, config), config)
        adapter = cls(source, target, maps, config, inputs)
        if path is not None:
            adapter.save(path)
        return adapter

    def save(self, path: Path) -> None:
        """Write the maps and what they were fitted from as safetensors."""
        store.save(path, {_buffer_name(key): self.map(key) for key in self.keys}, self.inputs)

    @classmethod
    def load(
        cls, path: Path, source: FrozenModel, target: FrozenModel, config: FuseConfig | None = None
    ) -> FuseAdapterModule:
        """Read what `save` wrote. Raises UsageError where it was fitted for other weights than these."""
        tensors, inputs = store.load(path)
        for role, model in (("source", source), ("target", target)):
            if inputs.get(role) != model.fingerprint:
                raise UsageError(
                    f"{path} was fitted for another {role} model: its embeddings or tokenizer differ from those of "
                    f"{model.name}, whatever their names; fit it again for this model"
                )
        if config is None:
            settings = {k: v for k, v in inputs["settings"].items() if k != "lowercases"}
            config = FuseConfig(**settings)
        maps = {_key(name): tensor for name, tensor in tensors.items()}
        return cls(source, target, maps, config, inputs)

    def map(self, key: Key) -> Tensor:
        """The fitted map [d_s, d_t, n] of one word length."""
        return self.get_buffer(_buffer_name(key))

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t], every vector taken as a word of one token."""
        key = (1,) if self.config.group_by == "target" or self.shared_tokenizer else (1, 1)
        if key not in self.keys:
            raise UsageError(
                "this adapter has no map for words of one token: fit it on a corpus of common words"
            )
        return prompt @ self.map(key)[..., 0].to(prompt)

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient by the target's embeddings [B, S_t, d_t] -> by the source's [B, S_s, d_s] (eq. 5)."""
        groups: dict[Key | int, list[WordPair]] = defaultdict(list)
        for word in alignment.words:
            used = self._as_used(word, gradient.shape[1])
            groups[self._choice(used)].append(used)
        shape = (alignment.rows, alignment.source_length, self.source.embedding_size)
        result = gradient.new_zeros(shape)
        permute = "permute" in self.config.compat
        for choice, words in groups.items():
            fitted = self.map(choice) if isinstance(choice, tuple) else self._random(choice)
            pull_words(gradient, result, words, fitted.to(gradient), permute)
        return result

    def _as_used(self, word: WordPair, target_length: int) -> WordPair:
        """The word whose gradient is pulled; the published code never moves on from the first tokens."""
        if "first_token_gradient" not in self.config.compat:
            return word
        return replace(word, target_start=0, target_stop=min(word.source_count, target_length))

    def _choice(self, word: WordPair) -> Key | int:
        """The key of the fitted map for a word, or the depth of a random one where none was fitted."""
        if self.shared_tokenizer:
            return (1,)
        key: Key = (word.source_count, word.target_count)
        if self.config.group_by == "target":
            key = key[:1] if "source_count_lookup" in self.config.compat else key[1:]
        depth = max(word.source_count, word.target_count)
        if key in self.keys and self.map(key).shape[-1] >= depth:
            return key
        return depth

    def _random(self, depth: int) -> Tensor:
        """The stand-in Jacobian [d_s, d_t, depth] of words that no map was fitted for (section 4.2)."""
        if depth not in self._beyond:
            longest = self.map(self.keys[-1])
            std = float(longest.square().mean().sqrt()) if self.config.beyond == "random" else 0.0
            sizes = (self.source.embedding_size, self.target.embedding_size)
            self._beyond[depth] = random_tensor_map(sizes, depth, std, self.config.seed)
        return self._beyond[depth]


def _is_shared(source: FrozenModel, target: FrozenModel, config: FuseConfig) -> bool:
    """Whether the shared-tokenizer case applies. Raises UsageError where it is asked for and cannot be."""
    same = same_tokenizer(source.tokenizer, target.tokenizer)
    if config.shared_tokenizer and not same:
        raise UsageError(
            f"adapter.shared_tokenizer=true, but {source.name} and {target.name} have different tokenizers: "
            "leave it at null"
        )
    return same if config.shared_tokenizer is None else config.shared_tokenizer


def _buffer_name(key: Key) -> str:
    return "map_" + "_".join(map(str, key))


def _key(name: str) -> Key:
    return tuple(int(part) for part in name.removeprefix("map_").split("_"))
