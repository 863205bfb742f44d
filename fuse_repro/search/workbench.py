"""What every way to change a prompt needs: scores of all tokens, the best of them, and which prompts may stand."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fuse_repro.search.candidates import survivors
from fuse_repro.search.edits import Prompt, deletions, exchanges, insertions, words_of
from fuse_repro.search.likely import with_likely
from fuse_repro.search.neighbours import around
from fuse_repro.search.problem import Hypothesis
from fuse_repro.search.proposal import joining
from fuse_repro.search.scoring import standardise
from fuse_repro.search.trials import Trials

Estimate = Callable[
    [Sequence[str]], Tensor | None
]  # B texts -> the objective with each of V more words, [B, V]
REACH = 8  # times as many tokens are looked at, since many are known or do not survive
NOISE = 1e-4  # of a score


@dataclass(frozen=True)
class Workbench:
    """A prompt, and all that it takes to change it.

    Attributes:
        trials: where prompts are evaluated.
        prompt: what is changed.
        longest: how many tokens a prompt may have.
        accepts: whether a text may be kept.
        estimate: of one more word in a text, without gradients; None where no term has it.
        zeroth_weight: of that estimate against the gradient, both standardised.
        generator: of every random choice.
    """

    trials: Trials
    prompt: Prompt
    longest: int
    accepts: Callable[[str], bool]
    estimate: Estimate
    zeroth_weight: float
    generator: torch.Generator

    def at(self, prompt: Prompt) -> "Workbench":
        """The same for another prompt."""
        return replace(self, prompt=prompt)

    @property
    def places(self) -> range:
        """Where a token may be exchanged."""
        return range(self.trials.permitted.begin, len(self.prompt))

    @property
    def words(self) -> list[tuple[int, int]]:
        """The prompt's words behind the prefix; see `words_of`."""
        return words_of(self.prompt, self.trials.permitted.begin, joining(self.trials.permitted.tokenizer))

    def read(self, averaged: int) -> "Scores | None":
        """The gradients of the prompt and of neighbours, `averaged` in all; None where the budget is spent."""
        gradients = around(self.trials, self.prompt, len(self.places), averaged, self.generator)
        if gradients is None:
            return None
        fluency, carried = gradients.score_parts(range(len(gradients.nll)), self.places)
        values = gradients.values.total
        spread = float(values.std(correction=0)) if len(values) > 1 else 1.0  # the objective's own scale
        return Scores(self, fluency, carried, spread)

    def texts(self, prompts: Sequence[Prompt]) -> list[str]:
        """What they say."""
        return self.trials.permitted.tokenizer.decode(prompts)

    def best(self, scores: Tensor, count: int, instead: Sequence[int] = ()) -> list[list[int]]:
        """Tokens of least score in every row of [n, V], more than `count`.

        Of those that differ in case alone there is one, and none that differs so from the token `instead` of which it
        would stand.
        """
        found = []
        ranked = self.trials.permitted.best(scores, REACH * count + REACH).tolist()
        for row, tokens in enumerate(ranked):
            first = {self._reading(token): token for token in instead[row : row + 1]}
            for token in tokens:
                first.setdefault(self._reading(token), token)
            found.append(list(first.values())[len(instead[row : row + 1]) :])
        return found

    def _reading(self, token: int) -> tuple[bool, str]:
        """What tokens have in common that differ in case alone."""
        permitted = self.trials.permitted
        return bool(joining(permitted.tokenizer)[token]), permitted.words[token]

    def likely(self, each: int) -> list[Prompt]:
        """New prompts with tokens that the language model expects, up to `each` at a place: put in, or instead."""
        if each == 0:
            return []
        room = len(self.prompt) < self.longest
        found = with_likely(self.trials.problem.lm, self.prompt, self.trials.permitted, each, room)
        return [ids for prompts in found for ids in self.new(prompts)[:each]]

    def legal(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        """Those that survive decode -> encode, keep to the constraints, and are accepted."""
        permitted, asked = self.trials.permitted, list(dict.fromkeys(prompts))
        kept = permitted.kept(survivors(asked, permitted.tokenizer)) if asked else []
        return [ids for ids, text in kept if self.accepts(text)]

    def new(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        """The legal ones that are not known yet."""
        return self.legal(ids for ids in prompts if not self.trials.knows(ids))


@dataclass(frozen=True)
class Scores:
    """What gradients say of the tokens at every place of a workbench's prompt; lower is better.

    Attributes:
        bench: whose prompt it is.
        fluency: [n, V], of the language model's own likelihood at each of n places.
        carried: [n, V], of the terms with adapters.
        spread: of the objective, which the mixture of predictions is brought to.
    """

    bench: Workbench
    fluency: Tensor
    carried: Tensor
    spread: float

    def exchanges(self, count: int) -> list[Prompt]:
        """The best new prompts with another token, equally many at each place."""
        bench, each = self.bench, -(-count // len(self.bench.places))
        without = deletions(bench.prompt, [(place, place + 1) for place in bench.places])
        scores = self.fluency + self.spread * self._mixed(self.carried, bench.estimate(bench.texts(without)))
        best = bench.best(scores, each, bench.prompt[bench.places[0] :])
        found: list[Prompt] = []
        for place, tokens in zip(bench.places, best, strict=True):
            found += bench.new(exchanges(bench.prompt, place, tokens))[:each]
        return found

    def insertions(self, count: int) -> list[Prompt]:
        """The best new prompts with one more token, each in the gap between words where it scores best."""
        bench = self.bench
        more = self._mixed(self.carried.mean(0, keepdim=True), bench.estimate(bench.texts([bench.prompt])))
        gaps = [start for start, _ in bench.words]
        scores = (self.fluency + self.spread * more)[[gap - bench.places[0] for gap in gaps]]
        noise = NOISE * torch.rand(scores.shape, generator=bench.generator)  # where all gaps are alike
        lowest, at = (scores + noise.to(scores.device)).min(0)
        (tokens,) = bench.best(lowest.unsqueeze(0), count)
        return bench.new(insertions(bench.prompt, [gaps[int(at[t])] for t in tokens], tokens))[:count]

    def _mixed(self, first: Tensor, zeroth: Tensor | None) -> Tensor:
        """Both predictions in one, standardised at every place."""
        score = standardise(first)
        if zeroth is not None:
            score = score + self.bench.zeroth_weight * standardise(zeroth.float())
        return standardise(score)


def best_of(found: Sequence[Hypothesis]) -> Hypothesis:
    """The one of least objective; among equals the first."""
    return min(found, key=lambda hypothesis: hypothesis.objective)
