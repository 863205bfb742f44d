"""One of several maps, chosen without labels of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from fuse_repro.adapters.anchors import Anchors
from fuse_repro.adapters.auto.choice import CRITERIA, ROUND_TRIP, Choice, Rating
from fuse_repro.adapters.auto.held_out import AnyFit, choose_by_words, takes_anchors
from fuse_repro.adapters.auto.round_trip import choose_by_round_trip
from fuse_repro.adapters.base import EmbeddingMap, fit_values
from fuse_repro.adapters.linear import RidgeMap
from fuse_repro.adapters.local import LocalMap
from fuse_repro.adapters.sparse import SparseMap
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.alignment.words import Tokenized
from fuse_repro.errors import UsageError, first_line, require
from fuse_repro.models.base import FrozenModel

FEW: dict[str, AnyFit] = {"ridge": RidgeMap.fit, "sparse": SparseMap.fit, "local": LocalMap.fit}


class AutoMap(EmbeddingMap):
    """Fits several candidates and uses the one that a criterion takes.

    `choose` looks at one prompt, and is asked the source's development items where there are any. Where there
    is no prompt, as for gradients, and in `transfer`, held-out words decide.

    Attributes:
        maps: name -> fitted candidate.
        fits: name -> its fit.
    """

    def __init__(
        self,
        source: FrozenModel,
        target: FrozenModel,
        maps: Mapping[str, EmbeddingMap],
        fits: Mapping[str, AnyFit],
        criterion: str | None,
        back: partial[dict[str, EmbeddingMap]],
        by_words: partial[Choice],
    ) -> None:
        """See `fit`.

        Args:
            source: see `EmbeddingMap`.
            target: see `EmbeddingMap`.
            maps: name -> fitted candidate.
            fits: name -> its fit.
            criterion: see `fit`.
            back: fits the candidates from the target to the source.
            by_words: chooses by held-out words.
        """
        super().__init__(source, target)
        self.maps = dict(maps)
        self.parts = nn.ModuleDict(maps)  # the same, so that they move with this module
        self.fits, self.criterion = dict(fits), criterion
        self._fit_back, self._choose_by_words = back, by_words

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str] = (),
        *,
        cache_dir: Path | None = None,
        given: Anchors | None = None,
        candidates: Mapping[str, AnyFit] | None = None,
        criterion: str | None = None,
        holdout: int = 150,
        holdout_noise: float = 0.25,
        seed: int = 0,
    ) -> Self:
        """Fit the candidates; those that cannot be fitted between these models are left out.

        Args:
            source: see `EmbeddingMap.fit`.
            target: see `EmbeddingMap.fit`.
            words: see `EmbeddingMap.fit`.
            cache_dir: see `EmbeddingMap.fit`.
            given: the shared words, where they are not simply all.
            candidates: name -> fit of a map, with its settings as a `functools.partial`; None for ridge, sparse
                and local.
            criterion: "round_trip" (development items of the source), "words" (held-out words), or None for the
                first of these that there is something for.
            holdout: words held out for the latter.
            holdout_noise: on their source embeddings, in standard deviations.
            seed: of which words are held out, and of the noise.

        Raises:
            UsageError: settings out of range, or fewer than two candidates that can be fitted.
        """
        fits = dict(FEW if candidates is None else candidates)
        cls.check(candidates=fits, criterion=criterion, holdout=holdout, holdout_noise=holdout_noise)
        maps, failed = _fitted(fits, source, target, words, cache_dir, given)
        if len(maps) < 2:
            left = f"one map is left, {next(iter(maps))}" if maps else "no map is left"
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise UsageError(
                f"adapter=auto has nothing to choose from: {left} ({reasons}); name a map, as adapter=ridge"
            )
        able = {name: fits[name] for name in maps}
        turned = None if given is None else Anchors(given.words, given.ids[::-1])
        return cls(
            source,
            target,
            maps,
            able,
            criterion,
            partial(_back, able, target, source, words, cache_dir, turned),
            partial(
                choose_by_words,
                able,
                source,
                target,
                words,
                cache_dir=cache_dir,
                given=given,
                holdout=holdout,
                noise=holdout_noise,
                seed=seed,
            ),
        )

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`; looks at the settings of every candidate, too."""
        values = fit_values(cls.fit, settings)
        criterion, holdout, noise = values["criterion"], values["holdout"], values["holdout_noise"]
        allowed = f"one of {', '.join(CRITERIA)}, or null for the first that there is something for"
        require(criterion is None or criterion in CRITERIA, "adapter.criterion", criterion, allowed)
        require(holdout >= 1, "adapter.holdout", holdout, "a whole number from 1 on")
        require(noise >= 0, "adapter.holdout_noise", noise, "0 or more")
        fits = FEW if values["candidates"] is None else values["candidates"]
        require(
            len(fits) >= 2,
            "adapter.candidates",
            list(fits),
            "two maps or more to choose from; where there is one, name it, as adapter=ridge",
        )
        for name, fit in fits.items():
            _check_candidate(name, fit)

    def choose(self, prompt: Tensor, rating: Rating | None = None) -> Choice:
        """Which candidate shall move a prompt [m, d_s], and what the criterion gives the others.

        Args:
            prompt: the source's.
            rating: asks the source its development items; None where there are none.

        Raises:
            UsageError: nothing to choose by.
        """
        if self.criterion == ROUND_TRIP and rating is None:
            raise UsageError(
                "adapter.criterion='round_trip' asks the source's development items, and there are none: give a data "
                "set that has some (dataset=...), or adapter.criterion=words"
            )
        if rating is not None and self.criterion in (None, ROUND_TRIP):
            return choose_by_round_trip(self.maps, self.back, prompt, rating)
        return self.by_words

    @cached_property
    def back(self) -> dict[str, EmbeddingMap]:
        """Name -> candidate from the target to the source, where one can be fitted."""
        return self._fit_back()

    @cached_property
    def by_words(self) -> Choice:
        """The choice by held-out words, which is the same for every prompt."""
        return self._choose_by_words()

    @property
    def chosen(self) -> EmbeddingMap:
        """The candidate that held-out words choose."""
        return self.maps[self.by_words.chosen]

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t] by the candidate that held-out words choose; see `choose`."""
        return self.chosen.transfer(prompt)

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient [B, S_t, d_t] -> [B, S_s, d_s], as the candidate has it that held-out words choose."""
        return self.chosen.pullback(gradient, alignment)

    def pull_tokens(self, gradient: Tensor, alignment: Alignment, positions: Sequence[int]) -> Tensor:
        """See `EmbeddingMap.pull_tokens`; the coordinates are the candidate's."""
        return self.chosen.pull_tokens(gradient, alignment, positions)

    def score_tokens(self, pulled: Tensor) -> Tensor:
        """See `EmbeddingMap.score_tokens`."""
        return self.chosen.score_tokens(pulled)

    def align(self, texts: Sequence[str], source: Sequence[Tokenized] | None = None) -> Alignment:
        """See `EmbeddingMap.align`."""
        return self.chosen.align(texts, source)


def _check_candidate(name: str, fit: AnyFit) -> None:
    """Raises UsageError with the candidate's name in front of the setting that is wrong."""
    require(bool(name) and "." not in name, "adapter.candidates", name, "names without a dot")
    require(callable(fit), f"adapter.candidates.{name}", fit, "a map of conf/adapter, with _partial_: true")
    bound = fit.func if isinstance(fit, partial) else fit
    check = getattr(getattr(bound, "__self__", None), "check", None)
    if check is None:
        return
    try:
        check(**(fit.keywords if isinstance(fit, partial) else {}))
    except UsageError as error:
        raise UsageError(str(error).replace("adapter.", f"adapter.candidates.{name}.", 1)) from error


def _fitted(
    fits: Mapping[str, AnyFit],
    source: FrozenModel,
    target: FrozenModel,
    words: Sequence[str],
    cache_dir: Path | None,
    given: Anchors | None,
) -> tuple[dict[str, EmbeddingMap], dict[str, str]]:
    """The candidates that can be fitted, and why the others cannot, in one line each."""
    maps, failed = {}, {}
    for name, fit in fits.items():
        own = {"given": given} if given is not None and takes_anchors(fit) else {}
        try:
            maps[name] = fit(source, target, words, cache_dir=cache_dir, **own)
        except UsageError as error:
            failed[name] = first_line(error)
    return maps, failed


def _back(*arguments: Any) -> dict[str, EmbeddingMap]:
    """The candidates on the way back. Raises UsageError where there is none."""
    maps, failed = _fitted(*arguments)
    if not maps:
        raise UsageError(f"adapter=auto cannot move a prompt back: {next(iter(failed.values()))}")
    return maps
