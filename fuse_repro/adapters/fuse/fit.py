"""Fitting FUSE's maps V_i^+ * V_j from words (paper, Algorithm 2)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fuse_repro.adapters.fuse.settings import FuseSettings, Key
from fuse_repro.algebra.t_product import TLeastSquares
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.progress import track
from fuse_repro.shown import say

Words = list[tuple[tuple[int, ...], tuple[int, ...]]]
BLOCK = 1024


def group_words(
    source: FrozenModel, target: FrozenModel, words: Sequence[str], settings: FuseSettings
) -> dict[Key, Words]:
    """Token ids of the chosen words, grouped by their numbers of tokens.

    The key of a group is a target count (l_t,), which long words may share, or both counts (l_s, l_t); with both counts
    there are groups by target count as well. Words of more than `max_tokens` tokens in either model, and words that
    hold a special token, are left out. Of every group at most `words_per_length` are kept, drawn without replacement
    with `seed`, or the first ones of the corpus. Lengths that no word has are said on standard error.

    Returns:
        Key -> (source ids, target ids) of every word.

    Raises:
        UsageError: no word is left.
    """
    words = list(dict.fromkeys(word.lower() for word in words) if settings.lowercases else words)
    s_words, t_words = (_tokenise(model, words, settings) for model in (source, target))
    groups: dict[Key, Words] = defaultdict(list)
    for s_ids, t_ids in zip(s_words, t_words, strict=True):
        if settings.truncates:
            s_ids = s_ids[: len(t_ids)]
        if not (0 < len(s_ids) <= settings.max_tokens and 0 < len(t_ids) <= settings.max_tokens):
            continue
        if source.tokenizer.special_ids.isdisjoint(s_ids) and target.tokenizer.special_ids.isdisjoint(t_ids):
            groups[settings.key_of(len(t_ids))].append((s_ids, t_ids))
            if settings.by_pair:
                groups[len(s_ids), len(t_ids)].append((s_ids, t_ids))
    if not groups:
        raise UsageError(
            f"no word of the corpus has 1 to {settings.max_tokens} tokens in both {source.name} and {target.name} "
            f"({len(words)} words given): use another corpus or raise adapter.max_tokens"
        )
    missing = [n for n in range(1, settings.max_tokens + 1) if settings.key_of(n) not in groups]
    if missing:
        say(
            f"no word of the corpus has {', '.join(map(str, missing))} tokens in {target.name} and at most "
            f"{settings.max_tokens} in {source.name}: such words get a {settings.beyond} map; use another corpus, or "
            "a lower adapter.max_tokens"
        )
    return {key: _choose(groups[key], settings) for key in sorted(groups)}


def fit_maps(
    source: FrozenModel, target: FrozenModel, groups: Mapping[Key, Words], settings: FuseSettings
) -> dict[Key, Tensor]:
    """T = V_i^+ * V_j of every group: [d_i, d_j, n], with n the most tokens of any of its words.

    A map by target count that stands in for unseen pairs has n = max_tokens, which is deep enough for all of
    them. Words are streamed in blocks through the normal equations of the t-least-squares problem, so memory
    does not grow with their number. `ridge` is relative to the mean diagonal of V^T * V.
    """
    tables = tuple(_padded_table(model, settings.torch_dtype) for model in (source, target))
    least = {key: settings.max_tokens if settings.by_pair and len(key) == 1 else 1 for key in groups}
    return {
        key: _fit_group(words, tables, least[key], settings)
        for key, words in track(groups.items(), "fitting FUSE")
    }


def fit_shared_map(source: FrozenModel, target: FrozenModel, settings: FuseSettings) -> Tensor:
    """V_i^+ V_j over the whole shared vocabulary (paper, eq. 3): [d_i, d_j, 1]."""
    ids = range(source.tokenizer.vocab_size)
    special = source.tokenizer.special_ids | target.tokenizer.special_ids
    words: Words = [((i,), (i,)) for i in ids if i not in special]
    return fit_maps(source, target, {(1,): words}, replace(settings, group_by="target"))[(1,)]


def _tokenise(model: FrozenModel, words: Sequence[str], settings: FuseSettings) -> list[tuple[int, ...]]:
    """The token ids of words as they stand in running text; the published code leaves out the space before them."""
    if settings.lowercases:
        return [tuple(ids) for ids in model.tokenizer.encode(words)]
    return model.tokenizer.word_ids(words)


def _choose(words: Words, settings: FuseSettings) -> Words:
    if settings.selection == "frequent" or len(words) <= settings.words_per_length:
        return words[: settings.words_per_length]
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(words), generator=generator)[: settings.words_per_length]
    return [words[i] for i in sorted(order.tolist())]


def _padded_table(model: FrozenModel, dtype: torch.dtype) -> Tensor:
    """The embedding table with a row of zeros at the end, for absent tokens: [V + 1, d]."""
    table = model.embedding_table()
    padded = table.new_zeros(len(table) + 1, table.shape[1], dtype=dtype)  # one copy, not two
    padded[:-1] = table
    return padded


def _fit_group(words: Words, tables: tuple[Tensor, ...], least: int, settings: FuseSettings) -> Tensor:
    depth = max(least, max(max(len(s_ids), len(t_ids)) for s_ids, t_ids in words))
    sizes = [table.shape[1] for table in tables]
    equations = TLeastSquares(
        sizes[0], sizes[1], (depth,), dtype=settings.torch_dtype, device=tables[0].device
    )
    energy = 0.0
    for block in _blocks(words):
        sides = zip(*block, strict=True)
        v, w = (_stack(ids, table, depth) for ids, table in zip(sides, tables, strict=True))
        equations.update(v, w)
        energy += float(v.square().sum())
    # By Parseval, the faces of V^H V have this mean diagonal.
    equations.ridge = settings.ridge * energy / sizes[0]
    return equations.solve().to(torch.float32)


def _blocks(words: Words) -> Iterator[Words]:
    for start in range(0, len(words), BLOCK):
        yield words[start : start + BLOCK]


def _stack(sequences: Sequence[Sequence[int]], table: Tensor, depth: int) -> Tensor:
    """Embeddings of words of up to `depth` tokens, zero-padded: [W, d, depth]."""
    absent = table.shape[0] - 1
    padded = [[*ids, *[absent] * (depth - len(ids))] for ids in sequences]
    return table[torch.tensor(padded, device=table.device)].transpose(1, 2)
