"""One problem of matching relative representations, and its two solvers (PTfer, sections 2.3 and 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fuse_repro.adapters.relative.objective import row_losses
from fuse_repro.adapters.relative.space import AnchorSpace, closed_form, encode, rescale, top_mask
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.progress import track
from fuse_repro.prompts.batch import SoftPromptBatch

Finish = Callable[[Tensor], Tensor]
Score = Callable[[Tensor], float]


@dataclass(frozen=True)
class MatchProblem:
    """What the target prompt has to look like from the target's anchors.

    Attributes:
        references: source name -> [m, K], the source prompt's cosines to its anchors.
        weights: source name -> weight in eq. 7.
        space: the target's anchors.
        mask: bool [m, K], the anchors that count. One mask serves all sources: the k anchors with the highest
            weighted sum of unit representations; for one source these are its highest cosines (A.1).
    """

    references: dict[str, Tensor]
    weights: dict[str, float]
    space: AnchorSpace
    mask: Tensor

    @property
    def summed(self) -> Tensor:
        """[m, K], the weighted sum of the masked unit representations: all that eq. 7 depends on."""
        return weighted_sum({name: r * self.mask for name, r in self.references.items()}, self.weights)

    def to(self, dtype: torch.dtype) -> MatchProblem:
        """The same problem in another precision."""
        references = {name: r.to(dtype) for name, r in self.references.items()}
        return replace(self, references=references, space=self.space.to(dtype))

    def batch(self, vectors: Tensor) -> SoftPromptBatch:
        """One target prompt [m, d_t], as the objective is given it."""
        encoding = encode(vectors, self.space).unsqueeze(0)
        return SoftPromptBatch(vectors.unsqueeze(0), None, encoding, self.mask, self.units)

    @cached_property
    def units(self) -> dict[str, Tensor]:
        """The masked references at unit length, [m, K] by name; the same in every step of a search."""
        return {name: normalize(r * self.mask, dim=1) for name, r in self.references.items()}

    @torch.no_grad()
    def losses(self, vectors: Tensor, objective: MultiObjectiveLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Matching loss of target vectors [m, d_t]: weighted sum [m], and every source's own [m]."""
        return row_losses(objective, self.batch(vectors))


def match_problem(
    references: dict[str, Tensor], weights: dict[str, float], space: AnchorSpace, k: int | None
) -> MatchProblem:
    """The problem with the mask that belongs to its references, without the anchors that no row keeps."""
    mask = top_mask(weighted_sum(references, weights), k)
    kept = mask.any(0)
    if not kept.all():
        mask = mask[:, kept]
        references = {name: r[:, kept] for name, r in references.items()}
        space = replace(space, directions=space.directions[kept])
    return MatchProblem(references, weights, space, mask)


def weighted_sum(relative: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Sum over sources of weight * unit representation: [m, K]."""
    units = [weights[name] * normalize(r, dim=1) for name, r in relative.items()]
    return torch.stack(units).sum(0)


@dataclass(frozen=True)
class TransferResult:
    """A transferred prompt and how it was found.

    Attributes:
        prompt: [m, d_t].
        matching_loss: [m], the weighted sum of the sources' cosine distances, before eq. 6 is applied
            afterwards.
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


@dataclass(frozen=True)
class Solution:
    """What a solver found.

    Attributes:
        vectors: [m, d_t], in the target's space.
        curve: as in TransferResult.
        step: as in TransferResult.
        scores: as in TransferResult.
    """

    vectors: Tensor
    curve: Tensor
    step: int | None = None
    scores: list[tuple[int, float, float]] = field(default_factory=list)


def solve_closed_form(problem: MatchProblem, ridge: float) -> Solution:
    """The optimum of eq. 7 itself (with a ridge: a point on the way to it)."""
    directions = closed_form(problem.summed, problem.mask, problem.space, [ridge])[0]
    vectors = problem.space.leave(directions) + problem.space.centre
    return Solution(vectors, directions.new_empty(0))


@torch.enable_grad()
def solve_adam(
    problem: MatchProblem,
    objective: MultiObjectiveLoss,
    statistics: tuple[float, float],
    finish: Finish,
    score: Score | None = None,
    *,
    steps: int,
    lr: float,
    rescaled: bool,
    select: str,
    check_every: int,
    seed: int,
) -> Solution:
    """The paper's search: gradient descent on whatever the objective holds, from random vectors.

    Variables start as Xavier's initialisation draws them, as in the published code, and are scaled to the
    spread of the target's embeddings. So a step of the same `lr` turns a vector as far in every model;
    cosines do not see scale.

    Args:
        problem: what is matched.
        objective: what is minimised, of the problem's batch.
        statistics: mean and standard deviation of the target's embedding values, for the scale and for eq. 6
            in the loop.
        finish: turns vectors [m, d_t] into the prompt that `score` is given.
        score: rates such a prompt, higher is better; called every `check_every` steps and at the end.
        steps: of Adam.
        lr: of Adam, for variables of Xavier's spread, sqrt(2 / (m + d_t)).
        rescaled: apply eq. 6 within the loop.
        select: which step is returned, "last", "matching_loss" (the lowest objective) or "dev" (the highest
            score).
        check_every: steps between two scores.
        seed: all that the start depends on.
    """
    problem = problem.to(torch.float32)
    rows, size = len(problem.mask), problem.space.centre.shape[0]
    spread = (2 / (rows + size)) ** 0.5
    start = spread * torch.randn((rows, size), generator=torch.Generator().manual_seed(seed))
    variables = start.to(problem.space.centre).requires_grad_(True)
    optimizer = torch.optim.Adam([variables], lr=lr)
    best, chosen, step_chosen = float("inf"), variables.detach(), 0
    curve: list[float] = []
    scores: list[tuple[int, float, float]] = []
    for step in track(range(steps + 1), "matching"):
        vectors = problem.space.centre + statistics[1] / spread * variables
        if rescaled:
            vectors = rescale(variables, *statistics)
        loss = objective(problem.batch(vectors)).total.mean()
        curve.append(float(loss.detach()))
        rating = curve[-1] if select == "matching_loss" else -float(step)
        if score is not None and (step % check_every == 0 or step == steps):
            scores.append((step, curve[-1], score(finish(vectors.detach()))))
        if select == "dev":
            rating = -scores[-1][2] if scores[-1][0] == step else float("inf")
        if rating < best:
            best, chosen, step_chosen = rating, vectors.detach().clone(), step
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Solution(chosen, torch.tensor(curve), step_chosen, scores)
