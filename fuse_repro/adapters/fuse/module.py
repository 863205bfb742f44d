"""The FUSE adapter (arXiv 2408.04816): exact re-tokenisation forward, t-algebra pullback backward."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap, fit_values, pick
from fuse_repro.adapters.fuse import faces
from fuse_repro.adapters.fuse.faces import Factors
from fuse_repro.adapters.fuse.fit import fit_maps, fit_shared_map, group_words
from fuse_repro.adapters.fuse.pull import RandomMaps, pull_words
from fuse_repro.adapters.fuse.settings import FuseSettings, Key
from fuse_repro.alignment.pairs import Alignment, WordPair, same_tokenizer
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.storage import tensors as store

KIND, FORMAT = "fuse", 2


class FuseAdapterModule(EmbeddingMap):
    """Carries gradients between models of different tokenizers, word by word.

    >>> adapter = FuseAdapterModule.fit(lm, encoder, words)
    >>> loss(adapter(embeddings, text)).backward()

    `embeddings` [S_s, d_s] are the source model's embeddings of `text`; the adapter returns the target's own
    embeddings of that text [S_t, d_t]; backward pulls each word's gradient through the map
    T = V_s^+ * V_t fitted for words of its length (paper, eq. 5 and Algorithm 1).

    The maps [d_s, d_t, n], or their factors, are buffers, one per word length.

    Attributes:
        settings: of the fit, and of how its maps are used.
        inputs: what the maps were fitted from.
        keys: of the maps: (l_t,), a target count, or (l_s, l_t), counts of both sides.
    """

    def __init__(
        self,
        source: FrozenModel,
        target: FrozenModel,
        maps: Mapping[Key, Factors],
        settings: FuseSettings,
        inputs: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the maps as buffers; `fit` is the usual way to an adapter.

        Args:
            source: the model that gradients are carried back to.
            target: the model that they come from.
            maps: the factors of the fitted map [d_s, d_t, n] of every key; see `fuse_repro.adapters.fuse.faces`.
            settings: of the fit, and of how its maps are used.
            inputs: what the maps were fitted from, kept with them by `save`.
        """
        super().__init__(source, target, shared_tokenizer=_is_shared(source, target, settings))
        self.settings = settings
        self.inputs = dict(inputs or {})
        self.keys = tuple(sorted(maps))
        self._names = {key: tuple(faces.named(key, maps[key])) for key in self.keys}
        for key in self.keys:
            for name, factor in faces.named(key, maps[key]).items():
                self.register_buffer(name, faces.by_face(factor.to(source.device)))
        longest = self.map(max(self.keys, key=lambda key: (len(key), key)))
        std = float(longest.square().mean().sqrt()) if settings.beyond == "random" else 0.0
        self._beyond = RandomMaps((source.embedding_size, target.embedding_size), std, settings.seed)

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str],
        *,
        cache_dir: Path | None = None,
        max_tokens: int = 4,
        words_per_length: int = 16384,
        selection: str = "random",
        group_by: str = "target",
        ridge: float = 0.0,
        beyond: str = "random",
        shared_tokenizer: bool | None = None,
        compat: str | Sequence[str] = "paper",
        seed: int = 0,
        dtype: str = "float64",
        storage: str = "float32",
        rank: int | None = None,
        share_above: int | None = None,
    ) -> Self:
        """Fit on the embeddings of `words` in both models, or find the maps in `cache_dir`.

        The settings are the fields of `FuseSettings`, which says what they are.

        Raises:
            UsageError: a setting out of range, or no word that can be used.
        """
        settings = FuseSettings(
            max_tokens=max_tokens,
            words_per_length=words_per_length,
            selection=selection,
            group_by=group_by,
            ridge=ridge,
            beyond=beyond,
            shared_tokenizer=shared_tokenizer,
            compat=compat,
            seed=seed,
            dtype=dtype,
            storage=storage,
            rank=rank,
            share_above=share_above,
        )
        sizes = (source.embedding_size, target.embedding_size)
        require(rank is None or rank <= min(sizes), "adapter.rank", rank, f"at most {min(sizes)}, or null")
        inputs = _inputs(source, target, words, settings)
        shared = _is_shared(source, target, settings)

        def make() -> dict[str, Tensor]:
            if shared:
                maps: dict[Key, Tensor] = {(1,): fit_shared_map(source, target, settings)}
            else:
                maps = fit_maps(source, target, group_words(source, target, words, settings), settings)
            kept = ((key, faces.factored(fitted, rank, storage)) for key, fitted in maps.items())
            return {
                name: factor for key, factors in kept for name, factor in faces.named(key, factors).items()
            }

        tensors = store.kept(cache_dir, inputs, faces.expected(sizes, settings), make)
        return cls(source, target, faces.by_key(tensors), settings, inputs)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`."""
        pick(FuseSettings, fit_values(cls.fit, settings))

    def save(self, path: Path) -> None:
        """Write the maps and what they were fitted from as safetensors."""
        kept = {name: self.get_buffer(name).contiguous() for names in self._names.values() for name in names}
        store.save(path, kept, self.inputs)

    @classmethod
    def load(
        cls, path: Path, source: FrozenModel, target: FrozenModel, settings: FuseSettings | None = None
    ) -> Self:
        """Read what `save` wrote.

        Args:
            path: the file.
            source: the source model that it was fitted for.
            target: the target model that it was fitted for.
            settings: how the maps are to be used; None takes the defaults with the settings of the fit.

        Raises:
            UsageError: no such file, a damaged file, or one that was fitted for other weights than these.
        """

        def expect(inputs: Mapping[str, Any]) -> store.Expectation:
            for role, model in (("source", source), ("target", target)):
                if inputs.get(role) != model.fingerprint:
                    raise UsageError(
                        f"{path} was fitted for another {role} model: its embeddings or tokenizer differ from those "
                        f"of {model.name}, whatever their names; fit it again for this model"
                    )
            return faces.expected((source.embedding_size, target.embedding_size), cls._settings(path, inputs))

        tensors, inputs = store.load(path, KIND, expect)
        return cls(source, target, faces.by_key(tensors), settings or cls._settings(path, inputs), inputs)

    @classmethod
    def _settings(cls, path: Path, inputs: Mapping[str, Any]) -> FuseSettings:
        """The settings of the fit that made a file, from its inputs."""
        try:
            return pick(FuseSettings, fit_values(cls.fit, _as_fitted(inputs["settings"])))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path} holds settings that are not of a fit ({error}): fit it again"
            ) from error

    def map(self, key: Key) -> Tensor:
        """The map [d_s, d_t, n] of one word length, multiplied out where it is kept as factors; float32."""
        return faces.multiplied(self._factors(key))

    def _factors(self, key: Key) -> Factors:
        return tuple(self.get_buffer(name) for name in self._names[key])

    def stored_bytes(self) -> int:
        """Bytes of all maps as they are kept: 4 d_s d_t times the sum of their depths, where they are kept whole."""
        return sum(buffer.nbytes for buffer in self.buffers())

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t], every vector taken as a word of one token.

        Raises:
            UsageError: no map for words of one token, or a prompt of another shape or with NaN or infinite
                values.
        """
        key: Key | None = next((key for key in ((1, 1), (1,)) if key in self.keys), None)
        if key is None:
            raise UsageError(
                "this adapter has no map for words of one token: fit it on a corpus of common words"
            )
        return faces.push(prompt, self._factors(key))

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient by the target's embeddings [B, S_t, d_t] -> by the source's [B, S_s, d_s] (eq. 5)."""
        return self.pull_tokens(gradient, alignment, range(alignment.source_length))

    def pull_tokens(self, gradient: Tensor, alignment: Alignment, positions: Sequence[int]) -> Tensor:
        """See `EmbeddingMap.pull_tokens`; the coordinates are those of embeddings."""
        groups: dict[Key | int, list[WordPair]] = defaultdict(list)
        for word in alignment.words_of(positions):
            used = self._as_used(word, gradient.shape[1])
            groups[self._choice(used)].append(used)
        column = {position: place for place, position in enumerate(positions)}
        result = gradient.new_zeros(alignment.rows, len(column), self.source.embedding_size)
        permute = "permute" in self.settings.compat
        for choice, words in groups.items():
            pull_words(gradient, result, words, self._map_of(choice, gradient), column, permute)
        return result

    def _as_used(self, word: WordPair, target_length: int) -> WordPair:
        """The tokens between which a word's gradient is pulled.

        The published code never moves on from the first target tokens. Maps fitted on cut words know nothing
        of the source tokens beyond a word's target count, which get no gradient, unless maps are looked up by
        source count.
        """
        compat = self.settings.compat
        if "first_token_gradient" in compat:
            word = word._replace(target_start=0, target_stop=min(word.source_count, target_length))
        if "truncate_source" in compat and "source_count_lookup" not in compat:
            word = word._replace(source_stop=word.source_start + min(word.source_count, word.target_count))
        return word

    def _choice(self, word: WordPair) -> Key | int:
        """The key of the fitted map for a word, or the depth of a random one where none was fitted."""
        if self.shared_tokenizer:
            return (1,)
        source, target = word.source_count, word.target_count
        keys: list[Key] = [(source, target), (target,)]
        if not self.settings.by_pair:
            by_source = "source_count_lookup" in self.settings.compat
            keys = [self.settings.key_of(source if by_source else target)]
        depth = max(source, target)
        fitted = (key for key in keys if key in self.keys and self._factors(key)[0].shape[-1] >= depth)
        return next(fitted, depth)

    def _map_of(self, choice: Key | int, values: Tensor) -> Factors:
        """The factors of what `_choice` chose, [d_s, d_t, n].

        A depth is that of the stand-in Jacobian for words that no map was fitted for (section 4.2).
        """
        if isinstance(choice, tuple):
            return self._factors(choice)
        return (self._beyond.like(choice, values),)


def _inputs(
    source: FrozenModel, target: FrozenModel, words: Sequence[str], settings: FuseSettings
) -> dict[str, Any]:
    """All that the fitted maps depend on."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "source": source.fingerprint,
        "target": target.fingerprint,
        "words": store.words_digest(words),
        "settings": settings.fit_inputs(),
    }


def _as_fitted(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of the fit that had these `fit_inputs`."""
    settings = dict(inputs)
    switches = {"lowercase_words": "lowercases", "truncate_source": "truncates"}
    settings["compat"] = [name for name, key in switches.items() if settings.pop(key, False)]
    return settings


def _is_shared(source: FrozenModel, target: FrozenModel, settings: FuseSettings) -> bool:
    """Whether the shared-tokenizer case applies.

    Raises:
        UsageError: it is asked for, and the two tokenizers differ.
    """
    same = same_tokenizer(source.tokenizer, target.tokenizer)
    if settings.shared_tokenizer and not same:
        raise UsageError(
            f"adapter.shared_tokenizer=true, but {source.name} and {target.name} have different tokenizers: "
            "leave it at null"
        )
    return same if settings.shared_tokenizer is None else settings.shared_tokenizer
