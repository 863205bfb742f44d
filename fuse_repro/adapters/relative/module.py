"""Zero-shot transfer of soft prompts through relative representations (PTfer, ICLR 2024)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fuse_repro.adapters.anchors import Anchors, AnchorSettings
from fuse_repro.adapters.base import EmbeddingMap, fit_values, pick
from fuse_repro.adapters.linear import pull_linear
from fuse_repro.adapters.prompt_checks import check_prompts
from fuse_repro.adapters.relative.calibration import CalibrationRow, calibrated
from fuse_repro.adapters.relative.match import (
    Finish,
    MatchProblem,
    Score,
    Solution,
    TransferResult,
    match_problem,
    solve_adam,
    solve_closed_form,
)
from fuse_repro.adapters.relative.objective import matching_objective, names_of_sources, other_terms
from fuse_repro.adapters.relative.settings import RelativeSettings
from fuse_repro.adapters.relative.space import AnchorSpace, anchor_space, encode, rescale
from fuse_repro.algebra.least_squares import solve_gram
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.errors import UsageError, require
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.models.base import FrozenModel

PARTS = ("directions", "centre", "inward", "outward")
PAPER: dict[str, Any] = {"k": 8192, "centre": False, "ridge": 0.0, "solver": "adam", "rescale": "after"}


class RelativePromptTransfer(EmbeddingMap):
    """Describes source prompts by their cosines to shared anchors and finds the target prompt that fits.

    >>> transfer = RelativePromptTransfer.fit([bert, roberta], gpt2, calibrate=True)
    >>> prompt = transfer.transfer_all([bert_prompt, roberta_prompt])

    Only directions are matched, so lengths are set apart: in the anchors' frame, a row is as long as it was
    in the source's (the weighted mean over sources), in units of the anchors' mean length there and times
    `length`. Eq. 6, where it is applied, comes on top; with rescale="off" a prompt goes to its own model
    unchanged.

    The anchors' directions and frames are buffers, in float64.

    Attributes:
        anchors: the words that all models share, the target's ids last.
        settings: what is done with them; after a calibration, with what it chose.
        calibration: what it chose from, best first; empty without one.
        weights: of the sources in eq. 7.
        statistics: mean and standard deviation of the target's embedding values, for eq. 6.
    """

    takes_several = True

    def __init__(
        self,
        sources: Sequence[FrozenModel],
        target: FrozenModel,
        anchors: Anchors,
        settings: RelativeSettings,
        calibration: Sequence[CalibrationRow] = (),
    ) -> None:
        """Check the settings against the models, and keep the anchors' directions and frames as buffers.

        Args:
            sources: the models whose prompts are moved.
            target: the model that they are moved to.
            anchors: the words that all models share, the target's ids last.
            settings: what is done with them.
            calibration: what the settings were chosen from, best first; empty without a calibration.

        Raises:
            UsageError: k above the number of anchors, or weights that do not fit the sources.
        """
        require(len(sources) >= 1, "sources", list(sources), "at least one source model")
        super().__init__(sources[0], target)
        names = ", ".join(model.name for model in (*sources, target))
        fits = settings.k is None or settings.k <= len(anchors)
        require(
            fits, "adapter.k", settings.k, f"{names} share {len(anchors)} anchors; give at most that, or null"
        )
        weights = (1.0,) * len(sources) if settings.weights is None else settings.weights
        fits = len(weights) == len(sources) and min(weights) >= 0 and 0 < sum(weights) < float("inf")
        require(
            fits, "adapter.weights", weights, f"{len(sources)} finite numbers, one per source, not all zero"
        )
        self._sources = tuple(sources)
        self.weights = tuple(weights)
        self.anchors, self.settings, self.calibration = anchors, settings, tuple(calibration)
        self._lengths = []
        for place, embeddings in enumerate(anchors.embeddings([*sources, target])):
            space = anchor_space(embeddings.to(target.device), settings.centre, settings.whiten)
            for part in PARTS:
                self.register_buffer(f"{part}_{place}", getattr(space, part))
            self._lengths.append(space.length)
        table = target.embedding_table()
        self.statistics = (float(table.mean()), float(table.std(correction=0)))
        self._weight: Tensor | None = None

    @classmethod
    def fit(
        cls,
        source: FrozenModel | Sequence[FrozenModel],
        target: FrozenModel,
        words: Sequence[str] = (),
        *,
        cache_dir: Path | None = None,
        given: Anchors | None = None,
        anchors: int | None = None,
        anchor_selection: str = "all",
        exclude: Collection[str] = (),
        trained_only: bool = False,
        k: int | None = None,
        centre: bool = True,
        whiten: bool = False,
        add_mean: bool = True,
        length: float = 1.0,
        ridge: float = 0.1,
        solver: str = "closed_form",
        steps: int = 2000,
        lr: float = 5e-3,
        rescale: str = "off",
        select: str = "matching_loss",
        check_every: int = 50,
        weights: Sequence[float] | None = None,
        calibrate: bool = False,
        holdout: int = 150,
        holdout_noise: float = 0.25,
        seed: int = 0,
    ) -> Self:
        """Describe the models by the anchors that they share; calibrate, where asked to.

        `source` is one model, or any number of them in a sequence. `words` are not used, since the anchors
        come from the vocabularies. `given` anchors, their target ids last, are taken instead of choosing
        some. The table of a calibration is kept in `cache_dir` and found again. The other settings are the
        fields of AnchorSettings and RelativeSettings, which say what they are; PAPER holds those of the paper
        that differ from the defaults.

        Raises:
            UsageError: settings out of range, or models that share fewer anchors than are asked for, or than
                k.
        """
        choice = AnchorSettings(anchors, anchor_selection, exclude, seed, trained_only)
        settings = RelativeSettings(
            k=k,
            centre=centre,
            whiten=whiten,
            add_mean=add_mean,
            length=length,
            ridge=ridge,
            solver=solver,
            steps=steps,
            lr=lr,
            rescale=rescale,
            select=select,
            check_every=check_every,
            weights=weights,
            calibrate=calibrate,
            holdout=holdout,
            holdout_noise=holdout_noise,
            seed=seed,
        )
        sources = [source] if isinstance(source, FrozenModel) else list(source)
        shared = choice.choose([*sources, target], given)
        if not calibrate:
            return cls(sources, target, shared, settings)
        table = calibrated(
            sources,
            target,
            shared,
            weights=settings.weights,
            holdout=holdout,
            holdout_noise=holdout_noise,
            seed=seed,
            cache_dir=cache_dir,
        )
        best = table[0]
        found = {name: getattr(best, name) for name in ("k", "centre", "whiten", "ridge", "length")}
        return cls(sources, target, shared, replace(settings, **found, calibrate=False), table)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`."""
        values = fit_values(cls.fit, settings)
        pick(AnchorSettings, values)
        pick(RelativeSettings, values)

    @property
    def sources(self) -> tuple[FrozenModel, ...]:
        return self._sources

    def space(self, place: int) -> AnchorSpace:
        """The anchors of source `place`, or of the target (-1)."""
        place = place % len(self._lengths)
        directions, centre, inward, outward = (getattr(self, f"{part}_{place}") for part in PARTS)
        return AnchorSpace(directions, centre, inward, outward, self._lengths[place])

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t], from one source."""
        return self.transfer_all([prompt])

    def transfer_all(self, prompts: Sequence[Tensor]) -> Tensor:
        """One prompt [m, d] per source, in their order -> [m, d_t].

        The order of the sources does not change a bit of the result.

        Raises:
            UsageError: see `solve`.
        """
        return self.solve(prompts).prompt

    def solve(
        self,
        prompts: Sequence[Tensor],
        score: Score | None = None,
        objective: MultiObjectiveLoss | None = None,
    ) -> TransferResult:
        """As `transfer_all`, with how it went.

        Args:
            prompts: one [m, d] per source, in their order.
            score: rates a target prompt on labelled dev data, higher is better. With select="dev" it chooses
                among Adam's steps; otherwise its values are only recorded.
            objective: what is minimised: a match of every source, and with solver="adam" any further terms of
                soft prompts. None is eq. 7 with this map's `weights`. Where there are further terms, a row
                keeps the length that the search has found.

        Raises:
            UsageError: prompts that do not fit the sources, of unequal m or with NaN; select="dev" without a
                score; an objective without a match of every source; or an objective that the closed form
                cannot solve.
        """
        check_prompts(prompts, self.sources)
        if self.settings.select == "dev" and score is None:
            raise UsageError(
                "adapter.select='dev' needs a score on labelled dev data: pass one, or use matching_loss or last"
            )
        order = sorted(range(len(prompts)), key=lambda place: self._identity(place, prompts[place]))
        if objective is None:
            names = [
                f"{order.index(place)}_{model.name.replace('.', '_')}"
                for place, model in enumerate(self.sources)
            ]
            objective = matching_objective({names[place]: self.weights[place] for place in order})
        else:
            names = names_of_sources(objective, self.sources)
        further = other_terms(objective)
        if further and self.settings.solver == "closed_form":
            raise UsageError(
                f"adapter.solver='closed_form' cannot minimise the objective's {', '.join(further)}: it solves "
                "relative matches alone; set adapter.solver=adam, or drop the term"
            )
        weights = {names[place]: objective.weights[names[place]] for place in order}
        problem, lengths = self._problem({names[place]: (place, prompts[place]) for place in order}, weights)

        def finish(vectors: Tensor) -> Tensor:
            return self._finish(vectors, None if further else lengths).to(prompts[0])

        solution = self._search(problem, objective, finish, score)
        vectors = solution.vectors.to(problem.space.centre)
        total, terms = problem.losses(vectors, objective)
        return TransferResult(finish(vectors), total, terms, solution.curve, solution.step, solution.scores)

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient [B, S_t, d_t] -> [B, S_s, d_s] through `weight`; see `pull_linear`."""
        return pull_linear(gradient, alignment, self.weight)

    @property
    def weight(self) -> Tensor:
        """[d_s, d_t], float32: the linear map that the closed form is for a single source and no mask.

        length * (length_t / length_s) D_s^T D_t (D_t^T D_t + ridge)^-1 with the anchors' unit directions D,
        between the frames: as `transfer`, but a row is not brought back to its length, which would not be
        linear. The mask is left out since it depends on the prompt.

        Raises:
            UsageError: several sources.
        """
        require(
            len(self.sources) == 1, "sources", len(self.sources), "a gradient goes back to one source only"
        )
        if self._weight is None:
            source, target = self.space(0), self.space(-1)
            gram = target.directions.T @ target.directions
            solved = solve_gram(gram, target.directions.T @ source.directions, self.settings.ridge)
            framed = self.settings.length * target.length / source.length * target.leave(solved.T)
            self._weight = (framed if source.inward is None else source.inward @ framed).to(torch.float32)
        return self._weight

    def _problem(
        self, prompts: Mapping[str, tuple[int, Tensor]], weights: dict[str, float]
    ) -> tuple[MatchProblem, Tensor]:
        """The matching problem, and how long each target row should be in its frame, [m, 1].

        Args:
            prompts: name of the match -> place of the source and its prompt [m, d], in the order of the sums.
            weights: name of the match -> weight in eq. 7.
        """
        references, lengths = {}, []
        for name, (place, given) in prompts.items():
            space = self.space(place)
            prompt = given.detach().to(space.centre)
            references[name] = encode(prompt, space)
            lengths.append(weights[name] * space.enter(prompt).norm(dim=1, keepdim=True) / space.length)
        target = self.space(-1)
        wanted = torch.stack(lengths).sum(0) / sum(weights.values()) * target.length * self.settings.length
        return match_problem(references, weights, target, self.settings.k), wanted

    def _identity(self, place: int, prompt: Tensor) -> tuple[str, ...]:
        """What a source is, whatever its place: sums run in this order, so that they round alike."""
        if len(self.sources) == 1:
            return ()
        values = prompt.detach().to("cpu", torch.float64).contiguous().numpy().data
        model = self.sources[place].fingerprint
        return (model, repr(self.weights[place]), hashlib.sha256(values).hexdigest())

    def _search(
        self, problem: MatchProblem, objective: MultiObjectiveLoss, finish: Finish, score: Score | None
    ) -> Solution:
        if self.settings.solver == "closed_form":
            return solve_closed_form(problem, self.settings.ridge)
        return solve_adam(
            problem,
            objective,
            self.statistics,
            finish,
            score,
            steps=self.settings.steps,
            lr=self.settings.lr,
            rescaled=self.settings.rescale == "in_loop",
            select=self.settings.select,
            check_every=self.settings.check_every,
            seed=self.settings.seed,
        )

    def _finish(self, vectors: Tensor, lengths: Tensor | None) -> Tensor:
        """The prompt [m, d_t] in the direction of these vectors, with these lengths and, if wanted, eq. 6.

        Without lengths, rows keep their own.
        """
        if self.settings.rescale == "in_loop":
            return vectors
        space = self.space(-1)
        offsets = space.enter(vectors)
        prompt = space.leave(offsets if lengths is None else normalize(offsets, dim=1) * lengths)
        if self.settings.add_mean:
            prompt = prompt + space.centre
        return rescale(prompt, *self.statistics) if self.settings.rescale == "after" else prompt
