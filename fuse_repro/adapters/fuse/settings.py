"""The settings of a FUSE adapter, checked as soon as they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fuse_repro.dtypes import FITS, WEIGHTS, torch_dtype
from fuse_repro.errors import require

RELEASED = ("permute", "first_token_gradient", "source_count_lookup", "lowercase_words", "truncate_source")
KEPT_WHOLE = {"storage": "float32", "rank": None, "share_above": None}  # the paper keeps every map as it is
Key = tuple[int, ...]
DTYPES = {name: torch_dtype(name) for name in FITS}


@dataclass(frozen=True)
class FuseSettings:
    """Settings of a FUSE adapter; `FuseAdapterModule.fit` has their defaults, the paper's (section 4.2, Algorithm 2).

    Attributes:
        max_tokens: the paper's `l`, the most tokens of a word that the maps are fitted for.
        words_per_length: words per map, drawn with `seed` (selection="random") or the corpus's first
            ("frequent").
        selection: "random" or "frequent".
        group_by: one map per "target" token count (paper) or per "pair" of source and target counts. Pairs
            that no word of the corpus has take a map by target count, fitted besides.
        ridge: 0 is the pseudoinverse (paper); otherwise relative to the mean diagonal of V^T * V.
        beyond: the map of longer words: "random" (paper; seeded, as large as the longest fitted map) or
            "zero".
        shared_tokenizer: one map per token over the whole vocabulary (paper, section 3.2); null finds out.
        compat: "paper", or () for short; "released" stands for all of RELEASED, the behaviours of the
            published code: permute (faces transposed, not reversed), first_token_gradient (every word gets
            the gradient of the first tokens), source_count_lookup (maps fitted by target count, looked up by
            source count), lowercase_words (fit words in lower case, without their leading space),
            truncate_source (fit words have no more source than target tokens: the rest is cut off).
        seed: of every random choice.
        dtype: precision of the fit, "float64" or "float32".
        storage: number format of the fitted maps, "float32", "float16" or "bfloat16".
        rank: of every face of the maps, kept as two factors; None keeps the faces whole.
        share_above: words of more target tokens than this share one map; None gives every length its own.
    """

    max_tokens: int
    words_per_length: int
    selection: str
    group_by: str
    ridge: float
    beyond: str
    shared_tokenizer: bool | None
    compat: str | Sequence[str]
    seed: int
    dtype: str
    storage: str
    rank: int | None
    share_above: int | None

    def __post_init__(self) -> None:
        switches = RELEASED if self.compat == "released" else self.compat
        switches = () if switches in ("paper", None) else switches
        switches = (switches,) if isinstance(switches, str) else tuple(sorted(switches))
        object.__setattr__(self, "compat", switches)
        whole = isinstance(self.max_tokens, int) and self.max_tokens >= 1
        require(whole, "adapter.max_tokens", self.max_tokens, "a whole number of at least 1")
        require(
            self.words_per_length >= 1, "adapter.words_per_length", self.words_per_length, "at least 1 word"
        )
        require(self.ridge >= 0, "adapter.ridge", self.ridge, "0 (pseudoinverse) or more")
        for name, allowed in {
            "selection": ("random", "frequent"),
            "group_by": ("target", "pair"),
            "beyond": ("random", "zero"),
            "dtype": tuple(DTYPES),
            "storage": WEIGHTS,
        }.items():
            value = getattr(self, name)
            require(value in allowed, f"adapter.{name}", value, f"one of {', '.join(allowed)}")
        _check_compact(self)
        unknown = sorted(set(switches) - set(RELEASED))
        require(
            not unknown, "adapter.compat", unknown, f"paper, released, or a list of {', '.join(RELEASED)}"
        )

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def lowercases(self) -> bool:
        return "lowercase_words" in self.compat

    @property
    def truncates(self) -> bool:
        return "truncate_source" in self.compat

    @property
    def by_pair(self) -> bool:
        return self.group_by == "pair"

    def key_of(self, count: int) -> Key:
        """The key of the map for words of this many target tokens."""
        shared = self.share_above is not None and self.share_above < count <= self.max_tokens
        return (self.max_tokens if shared else count,)

    def fit_inputs(self) -> dict[str, Any]:
        """The settings that the fitted maps depend on; the others only change how they are used."""
        settings = asdict(self)
        for name in ("beyond", "compat"):
            del settings[name]
        for name, plain in KEPT_WHOLE.items():  # maps that are kept whole are found as they were before
            if settings[name] == plain:
                del settings[name]
        return settings | {"lowercases": self.lowercases, "truncates": self.truncates}


def _check_compact(settings: FuseSettings) -> None:
    """Check how the maps are kept."""
    rank, above = settings.rank, settings.share_above
    require(rank is None or rank >= 1, "adapter.rank", rank, "at least 1, or null to keep faces whole")
    good = above is None or (1 <= above < settings.max_tokens and not settings.by_pair)
    allowed = f"1 to {settings.max_tokens - 1}, below adapter.max_tokens and with group_by=target, or null"
    require(good, "adapter.share_above", above, allowed)
