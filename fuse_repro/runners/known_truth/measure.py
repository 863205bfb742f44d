"""One record: a pair of models, every map fitted on it, and how far each is from the truth."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fuse_repro.adapters.anchors import Anchors
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.errors import UsageError, first_line
from fuse_repro.runners.build import Fit
from fuse_repro.runners.known_truth.instrument import answer, ask, prompt_error
from fuse_repro.runners.known_truth.pair import Pair, make_pair
from fuse_repro.runners.known_truth.points import Place, Plan


@dataclass(frozen=True)
class Measuring:
    """What all records are made with.

    Attributes:
        plan: the run's settings.
        corpus: words that models may have read.
        fits: name of a map -> its fit.
    """

    plan: Plan
    corpus: Sequence[str]
    fits: Mapping[str, Fit]

    def pair(self, place: Place) -> Pair:
        """The pair of models of a place.

        Raises:
            UsageError: see `make_pair`.
        """
        plan, point = self.plan, place.point
        return make_pair(
            plan.truths[place.truth],
            self.corpus,
            tokenizers=(plan.source, point.tokenizer),
            words=plan.most_words(),
            overlap=point.overlap,
            lengths=plan.lengths,
            noise=point.noise,
            seed=place.seed,
        )

    def record(self, place: Place) -> dict[str, Any]:
        """What is found at a place; a pair that cannot be made is a failed record.

        Words that are longer than what maps are fitted for are asked about at the base alone.
        """
        about = {
            "id": place.id,
            "kind": "known_truth",
            "truth": place.truth,
            "seed": place.seed,
            **asdict(place.point),
        }
        try:
            pair = self.pair(place)
        except UsageError as error:
            return about | {"status": "failed", "error": first_line(error)}
        longest = max(self.plan.lengths) if place.point == self.plan.base else self.plan.within
        asked = [key for key in pair.lexicon.classes if key[1] <= longest]
        if not asked:
            missing = f"too few words of {min(self.plan.lengths)} to {longest} target tokens to fit a map on"
            return about | {"status": "failed", "error": missing}
        chosen = pair.lexicon.words(place.point.words)
        questions = {key: ask(pair, key, place.seed) for key in asked}
        methods: dict[str, Any] = {}
        for name, fit in self.fits.items():
            try:
                fitted = fit_map(fit, pair, chosen)
                by_place = pair.relation.sees_places
                classes = {
                    _name(key): answer(fitted, question, by_place) for key, question in questions.items()
                }
                methods[name] = {"prompt": prompt_error(fitted, pair, place.seed), "classes": classes}
            except UsageError as error:
                methods[name] = {"error": first_line(error)}
        counts = {_name(key): len(words) for key, words in chosen.items()}
        return about | {"status": "done", "fitted_on": counts, "methods": methods}


def fit_map(fit: Fit, pair: Pair, chosen: Mapping[tuple[int, int], Sequence[str]]) -> EmbeddingMap:
    """A map fitted on these words; one that is fitted on anchors has those that are one token on both sides.

    Raises:
        UsageError: words that no map can be fitted from.
    """
    words = [word for some in chosen.values() for word in some]
    if "given" not in inspect.signature(fit.func).parameters:
        return fit(pair.source, pair.target, words, cache_dir=None)
    known = pair.lexicon.classes.get((1, 1), [])[: len(chosen.get((1, 1), []))]
    if not known:
        raise UsageError("the models share no anchors: no word is one token in both")
    ids = tuple(torch.tensor([getattr(one, side)[0] for one in known]) for side in ("source", "target"))
    anchors = Anchors(tuple(one.word for one in known), ids)
    return fit(pair.source, pair.target, words, cache_dir=None, given=anchors)


def _name(key: tuple[int, int]) -> str:
    return f"{key[0]}x{key[1]}"
