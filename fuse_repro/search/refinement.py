"""What follows growth: a buffer of whole prompts, of which many words are exchanged, put in, taken out and moved.

Several places change at once as in GASLITE (Ben-Tov and Sharif 2024, arXiv 2412.20953), by a gradient that is averaged
over neighbours, and the best prompts are kept as in GCG's buffer. Length is free up to a bound.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from fuse_repro.errors import require
from fuse_repro.search.changes import changed
from fuse_repro.search.edits import Prompt
from fuse_repro.search.frontier import unlike
from fuse_repro.search.problem import Hypothesis
from fuse_repro.search.regrowth import regrown
from fuse_repro.search.trials import Trials
from fuse_repro.search.workbench import Estimate, Workbench


@dataclass(frozen=True)
class Refinement:
    """Settings.

    A step takes the best prompt of the buffer that has not been taken, or else one at random, and changes it (see
    `changed`). Where steps no longer better the best prompt, every second one grows a prompt of the buffer anew in part
    (see `regrown`) and then changes what came out.

    Attributes:
        steps: how many at the most.
        buffer: how many prompts are kept.
        unlike: in how many words any two of those differ at the least; place and case do not count.
        averaged: over how many prompts a gradient is averaged.
        exchanges: how many prompts with another token are evaluated in a step, equally many at each place.
        insertions: how many with one more token.
        moves: how many with a word at another place.
        likely: how many, at each place, with a token that the language model expects: put in where there is room, else
            instead of another one.
        combined: how often the best exchanges are made together, at the most.
        patience: after so many steps that did not better the best prompt, a prompt is grown anew in part; 0: never.
        regrown: how many words grow anew, at the most.
        regrown_averaged: over how many prompts a gradient is averaged there.
        regrown_insertions: how many prompts are evaluated there for each token.
        zeroth_weight: of the estimate without gradients against the gradient, both standardised.
        seed: of every random choice.

    Raises:
        UsageError: a setting out of range.
    """

    steps: int = 1000
    buffer: int = 8
    unlike: int = 1
    averaged: int = 6
    exchanges: int = 96
    insertions: int = 16
    moves: int = 16
    likely: int = 1
    combined: int = 6
    patience: int = 3
    regrown: int = 5
    regrown_averaged: int = 4
    regrown_insertions: int = 24
    zeroth_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("steps", "buffer", "unlike", "averaged", "exchanges", "regrown")
        for name in (*counts, "regrown_averaged", "regrown_insertions"):
            require(getattr(self, name) >= 1, f"refinement.{name}", getattr(self, name), "at least 1")
        for name in ("insertions", "moves", "likely", "combined", "patience", "zeroth_weight"):
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
        buffer = unlike(start, self.buffer, self.unlike)
        bench = Workbench(trials, buffer[0].ids, longest, accepts, estimate, self.zeroth_weight, generator)
        taken: set[Prompt] = set()
        unchanged = 0  # for how many steps the best prompt has not
        for _ in range(self.steps):
            # Every second step only, so that the buffer's prompts still have their turn.
            stuck = 0 < self.patience <= unchanged and (unchanged - self.patience) % 2 == 0
            place = None if stuck else next((n for n, h in enumerate(buffer) if h.ids not in taken), None)
            if place is None:
                place = int(torch.randint(len(buffer), (1,), generator=generator))
            found = (self._regrown if stuck else self._changed)(bench.at(buffer[place].ids), taken)
            if found is None:
                return
            known = {h.ids for h in buffer}
            new = [replace(h, parent=place) for h in found if h.ids not in known]
            kept = [replace(h, parent=number) for number, h in enumerate(buffer)]
            best = buffer[0].ids
            buffer = unlike([*kept, *new], self.buffer, self.unlike)
            unchanged = unchanged + 1 if buffer[0].ids == best else 0
            yield buffer

    def _changed(self, bench: Workbench, taken: set[Prompt]) -> list[Hypothesis] | None:
        """What a step finds from this prompt, which is then one that was taken."""
        taken.add(bench.prompt)
        return changed(
            bench, self.averaged, self.exchanges, self.insertions, self.moves, self.combined, self.likely
        )

    def _regrown(self, bench: Workbench, taken: set[Prompt]) -> list[Hypothesis]:
        """What grows anew from this prompt, and what a step then finds from that."""
        found = regrown(bench, self.regrown, self.regrown_averaged, self.regrown_insertions, self.likely)
        more = self._changed(bench.at(found[-1].ids), taken) if found else None
        return [*found, *(more or [])]
