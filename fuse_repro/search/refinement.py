"""What follows growth: a buffer of whole prompts, of which many words are exchanged, put in, taken out and moved.

Several places change at once as in GASLITE (Ben-Tov and Sharif 2024, arXiv 2412.20953), by a gradient that is averaged
over neighbours, and the best prompts are kept as in GCG's buffer. Length is free up to a bound.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fuse_repro.errors import require
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.search.candidates import survivors
from fuse_repro.search.edits import deletions, exchanges, insertions, joined, moves, words_of
from fuse_repro.search.frontier import best_first
from fuse_repro.search.neighbours import around
from fuse_repro.search.problem import Hypothesis
from fuse_repro.search.proposal import joining
from fuse_repro.search.scoring import standardise
from fuse_repro.search.trials import Prompt, Trials

Estimate = Callable[
    [Sequence[str]], Tensor | None
]  # B texts -> the objective with each of V more words, [B, V]
REACH = 8  # times as many tokens are looked at, since many are known or do not survive
NOISE = 1e-4  # of a score


@dataclass(frozen=True)
class Refinement:
    """Settings.

    A step takes the best prompt of the buffer that has not been taken, or else one at random. It scores all tokens at
    all places by the averaged gradient and by the estimate without gradients. It evaluates the best exchanges and
    insertions that are not known yet, deletions and moves; then the best exchanges together.

    Attributes:
        steps: how many at the most.
        buffer: how many prompts are kept.
        averaged: over how many prompts a gradient is averaged.
        exchanges: how many prompts with another token are evaluated in a step, equally many at each place.
        insertions: how many with one more token.
        moves: how many with a word at another place.
        combined: how many of the best exchanges are made together, at the most.
        zeroth_weight: of the estimate without gradients against the gradient, both standardised.
        seed: of every random choice.

    Raises:
        UsageError: a setting out of range.
    """

    steps: int = 1000
    buffer: int = 8
    averaged: int = 6
    exchanges: int = 96
    insertions: int = 16
    moves: int = 16
    combined: int = 6
    zeroth_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "buffer", "averaged", "exchanges"):
            require(getattr(self, name) >= 1, f"refinement.{name}", getattr(self, name), "at least 1")
        for name in ("insertions", "moves", "combined", "zeroth_weight"):
            require(getattr(self, name) >= 0, f"refinement.{name}", getattr(self, name), "at least 0")

    def walk(
        self,
        trials: Trials,
        start: Sequence[Hypothesis],
        longest: int,
        accepts: Callable[[str], bool],
        estimate: Estimate,
    ) -> Iterator[list[Hypothesis]]:
        """The buffer after every step, best first, until the budget is spent.

        Args:
            trials: where prompts are evaluated.
            start: prompts to begin with.
            longest: how many tokens a prompt may have.
            accepts: whether a text may be kept.
            estimate: of one more word in a text, without gradients; None where no term has it.
        """
        generator = torch.Generator().manual_seed(self.seed)
        buffer = best_first(start)[: self.buffer]
        taken: set[Prompt] = set()
        for _ in range(self.steps):
            place = next((n for n, h in enumerate(buffer) if h.ids not in taken), None)
            if place is None:
                place = int(torch.randint(len(buffer), (1,), generator=generator))
            taken.add(buffer[place].ids)
            step = Step(self, trials, buffer[place].ids, longest, accepts, generator)
            found = step.found(estimate)
            if found is None:
                return
            kept = [replace(h, parent=number) for number, h in enumerate(buffer)]
            known = {h.ids for h in kept}
            new = [replace(h, parent=place) for h in found if h.ids not in known]
            buffer = best_first([*kept, *new])[: self.buffer]
            yield buffer


@dataclass(frozen=True)
class Step:
    """One step of a `Refinement`, from one prompt of the buffer; see `Refinement.walk`."""

    settings: Refinement
    trials: Trials
    prompt: Prompt
    longest: int
    accepts: Callable[[str], bool]
    generator: torch.Generator

    def found(self, estimate: Estimate) -> list[Hypothesis] | None:
        """What was evaluated and may be kept; None where the budget is spent."""
        begin, settings = self.trials.permitted.begin, self.settings
        places = range(begin, len(self.prompt))
        gradients = around(self.trials, self.prompt, len(places), settings.averaged, self.generator)
        if gradients is None:
            return None
        fluency, carried = gradients.score_parts(range(len(gradients.nll)), places)
        values = gradients.values.total
        spread = float(values.std(correction=0)) if len(values) > 1 else 1.0  # the objective's own scale
        scores = fluency + spread * self._mixed(
            carried, estimate(self._texts(deletions(self.prompt, _each(places))))
        )
        single = self.trials.evaluate(self._exchanges(scores, places))
        words = words_of(self.prompt, begin, joining(self._lm.tokenizer))
        others = moves(self.prompt, words, settings.moves, self.generator)
        if len(words) > 1:
            others += deletions(self.prompt, words)
        others = self._fitting(others)
        if len(self.prompt) < self.longest and settings.insertions:
            more = self._mixed(carried.mean(0, keepdim=True), estimate(self._texts([self.prompt])))
            others += self._insertions(fluency + spread * more, [start for start, _ in words])
        found = [*single, *self.trials.evaluate(others)]
        best = [h.ids for h in best_first(single)[: settings.combined]]
        return [*found, *self.trials.evaluate(self._fitting(joined(self.prompt, best)))]

    @property
    def _lm(self) -> CausalLM:
        return self.trials.problem.lm

    def _texts(self, prompts: Sequence[Prompt]) -> list[str]:
        return self._lm.tokenizer.decode(prompts)

    def _mixed(self, first: Tensor, zeroth: Tensor | None) -> Tensor:
        """Both predictions in one, standardised at every place."""
        score = standardise(first)
        if zeroth is not None:
            score = score + self.settings.zeroth_weight * standardise(zeroth.float())
        return standardise(score)

    def _exchanges(self, scores: Tensor, places: Sequence[int]) -> list[Prompt]:
        """The best new prompts with another token, equally many at each place; scores are [n, V], lower is better."""
        each = -(-self.settings.exchanges // len(places))
        found: list[Prompt] = []
        for place, tokens in zip(places, self._best(scores, each), strict=True):
            found += self._fitting(exchanges(self.prompt, place, tokens))[:each]
        return found

    def _insertions(self, scores: Tensor, gaps: Sequence[int]) -> list[Prompt]:
        """The best new prompts with one more token, each in the gap where it scores best; scores are [n, V]."""
        noise = NOISE * torch.rand(
            len(gaps), scores.shape[1], generator=self.generator
        )  # where all gaps are alike
        rows = scores[[gap - self.trials.permitted.begin for gap in gaps]] + noise.to(scores.device)
        lowest, at = rows.min(0)
        (tokens,) = self._best(lowest.unsqueeze(0), self.settings.insertions)
        new = insertions(self.prompt, [gaps[int(at[token])] for token in tokens], tokens)
        return self._fitting(new)[: self.settings.insertions]

    def _best(self, scores: Tensor, count: int) -> list[list[int]]:
        """Tokens of least score at every place, more than `count`, without those that differ in case alone."""
        tokenizer = self._lm.tokenizer
        ranked = self.trials.permitted.best(scores, REACH * count + REACH).tolist()
        joins = joining(tokenizer)
        found = []
        for tokens in ranked:
            words = tokenizer.decode([[token] for token in tokens])
            first: dict[tuple[bool, str], int] = {}
            for token, word in zip(tokens, words, strict=True):
                first.setdefault((bool(joins[token]), word.strip().casefold()), token)
            found.append(list(first.values()))
        return found

    def _fitting(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Those that are not known yet and may be kept."""
        new = [ids for ids in dict.fromkeys(prompts) if not self.trials.knows(ids)]
        kept = self.trials.permitted.kept(survivors(new, self._lm.tokenizer)) if new else []
        return [ids for ids, text in kept if self.accepts(text)]


def _each(places: Sequence[int]) -> list[tuple[int, int]]:
    return [(place, place + 1) for place in places]
