"""Zero-shot transfer of soft prompts through relative representations (PTfer, ICLR 2024)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fuse_repro.adapters.anchors import Anchors
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.linear import pull_linear
from fuse_repro.adapters.prompt_checks import check_prompts
from fuse_repro.adapters.relative.calibration import CalibrationRow
from fuse_repro.adapters.relative.config import RelativeConfig
from fuse_repro.adapters.relative.match import (
    Finish,
    MatchProblem,
    Score,
    Solution,
    match_problem,
    solve_adam,
    solve_closed_form,
)
from fuse_repro.adapters.relative.space import AnchorSpace, anchor_space, encode, rescale
from fuse_repro.algebra.least_squares import solve_gram
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel

PARTS = ("directions", "centre", "inward", "outward")


@dataclass(frozen=True)
class TransferResult:
    """A transferred prompt and how it was found.

    prompt: [m, d_t].
    matching_loss: [m], the weighted sum of the sources' cosine distances, before eq. 6 is applied afterwards.
    terms: source name -> [m], the distance to that source.
    curve: mean matching loss before every step of Adam and after the last; empty for the closed form.
    step: the step of Adam that was chosen, or None.
    scores: (step, matching loss, score) wherever the caller's score was asked for.
    """

    prompt: Tensor
    matching_loss: Tensor
    terms: dict[str, Tensor]
    curve: Tensor
    step: int | None
    scores: list[tuple[int, float, float]]


class RelativePromptTransfer(EmbeddingMap):
    """Describes source prompts by their cosines to shared anchors and finds the target prompt that fits.

    >>> transfer = RelativeConfig(calibrate=True).fit_sources([bert, roberta], gpt2)
    >>> prompt = transfer.transfer_all([bert_prompt, roberta_prompt])

    Only directions are matched, so lengths are set apart: in the anchors' frame, a row is as long as it was
    in the source's (the weighted mean over sources), in units of the anchors' mean length there and times
    `length`. Eq. 6,
    where it is applied, comes on top; with rescale="off" a prompt goes to its own model unchanged.

    The anchors' directions and frames are buffers, in float64.

    Raises UsageError for k above the number of anchors, and for weights that do not fit the sources.
    """

    def __init__(
        self,
        sources: Sequence[FrozenModel],
        target: FrozenModel,
        anchors: Anchors,
        config: RelativeConfig,
        calibration: Sequence[CalibrationRow] = (),
    ) -> None:
        require(len(sources) >= 1, "sources", list(sources), "at least one source model")
        super().__init__(sources[0], target)
        names = ", ".join(model.name for model in (*sources, target))
        fits = config.k is None or config.k <= len(anchors)
        require(
            fits, "adapter.k", config.k, f"{names} share {len(anchors)} anchors; give at most that, or null"
        )
        weights = (1.0,) * len(sources) if config.weights is None else config.weights
        fits = len(weights) == len(sources) and min(weights) >= 0 and 0 < sum(weights) < float("inf")
        require(
            fits, "adapter.weights", weights, f"{len(sources)} finite numbers, one per source, not all zero"
        )
        self._sources = tuple(sources)
        self.weights = tuple(weights)
        self.anchors, self.config, self.calibration = anchors, config, tuple(calibration)
        self._lengths = []
        for place, embeddings in enumerate(anchors.embeddings([*sources, target])):
            space = anchor_space(embeddings.to(target.device), config.centre, config.whiten)
            for part in PARTS:
                self.register_buffer(f"{part}_{place}", getattr(space, part))
            self._lengths.append(space.length)
        table = target.embedding_table()
        self.statistics = (float(table.mean()), float(table.std(correction=0)))
        self._weight: Tensor | None = None

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
        """One prompt [m, d] per source, in their order -> [m, d_t]; that order does not change a bit of it."""
        return self.solve(prompts).prompt

    def solve(self, prompts: Sequence[Tensor], score: Score | None = None) -> TransferResult:
        """As `transfer_all`, with how it went.

        score: rates a target prompt on labelled dev data, higher is better. With select="dev" it chooses
            among Adam's steps; otherwise its values are only recorded.

        Raises UsageError for prompts that do not fit the sources, of unequal m or with NaN, and for
        select="dev" without a score.
        """
        check_prompts(prompts, self.sources)
        if self.config.select == "dev" and score is None:
            raise UsageError(
                "adapter.select='dev' needs a score on labelled dev data: pass one, or use matching_loss or last"
            )
        problem, lengths = self._problem(prompts)

        def finish(vectors: Tensor) -> Tensor:
            return self._finish(vectors, lengths).to(prompts[0])

        solution = self._search(problem, finish, score)
        vectors = solution.vectors.to(problem.space.centre)
        total, terms = problem.losses(vectors)
        return TransferResult(finish(vectors), total, terms, solution.curve, solution.step, solution.scores)

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient [B, S_t, d_t] -> [B, S_s, d_s] through `weight`; see `pull_linear`."""
        return pull_linear(gradient, alignment, self.weight)

    @property
    def weight(self) -> Tensor:
        """[d_s, d_t], float32: the linear map that the closed form is for a single source and no mask.

        length * (length_t / length_s) D_s^T D_t (D_t^T D_t + ridge)^-1 with the anchors' unit directions D, between
        the frames: as `transfer`, but a row is not brought back to its length, which would not be linear. The
        mask is left out since it depends on the prompt. Raises UsageError for several sources.
        """
        require(
            len(self.sources) == 1, "sources", len(self.sources), "a gradient goes back to one source only"
        )
        if self._weight is None:
            source, target = self.space(0), self.space(-1)
            gram = target.directions.T @ target.directions
            solved = solve_gram(gram, target.directions.T @ source.directions, self.config.ridge)
            framed = self.config.length * target.length / source.length * target.leave(solved.T)
            self._weight = (framed if source.inward is None else source.inward @ framed).to(torch.float32)
        return self._weight

    def _problem(self, prompts: Sequence[Tensor]) -> tuple[MatchProblem, Tensor]:
        """The matching problem, and how long each target row should be in its frame, [m, 1]."""
        order = sorted(range(len(prompts)), key=lambda place: self._identity(place, prompts[place]))
        references, weights, lengths = {}, {}, []
        for rank, place in enumerate(order):
            space = self.space(place)
            prompt = prompts[place].detach().to(space.centre)
            name = f"{rank}_{self.sources[place].name.replace('.', '_')}"
            references[name] = encode(prompt, space)
            weights[name] = self.weights[place]
            lengths.append(weights[name] * space.enter(prompt).norm(dim=1, keepdim=True) / space.length)
        target = self.space(-1)
        wanted = torch.stack(lengths).sum(0) / sum(weights.values()) * target.length * self.config.length
        return match_problem(references, weights, target, self.config.k), wanted

    def _identity(self, place: int, prompt: Tensor) -> tuple[str, ...]:
        """What a source is, whatever its place: sums run in this order, so that they round alike."""
        if len(self.sources) == 1:
            return ()
        values = prompt.detach().to("cpu", torch.float64).contiguous().numpy().data
        model = self.sources[place].fingerprint
        return (model, repr(self.weights[place]), hashlib.sha256(values).hexdigest())

    def _search(self, problem: MatchProblem, finish: Finish, score: Score | None) -> Solution:
        if self.config.solver == "closed_form":
            return solve_closed_form(problem, self.config.ridge)
        return solve_adam(problem, self.config, self.statistics, finish, score)

    def _finish(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """The prompt [m, d_t] in the direction of these vectors, with its lengths and, if wanted, eq. 6."""
        if self.config.rescale == "in_loop":
            return vectors
        space = self.space(-1)
        prompt = space.leave(normalize(space.enter(vectors), dim=1) * lengths)
        if self.config.add_mean:
            prompt = prompt + space.centre
        return rescale(prompt, *self.statistics) if self.config.rescale == "after" else prompt
