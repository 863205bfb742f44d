"""Words taken out of a whole prompt, and others grown in their place: a way out where no small change helps any more.

Large neighbourhood search (Shaw 1998) with the growth of this project: where to take out is drawn, what grows is what
gradients and estimates favour.
"""

from collections.abc import Sequence

import torch

from fuse_repro.search.edits import Prompt, deletions, without
from fuse_repro.search.problem import Hypothesis
from fuse_repro.search.workbench import Workbench, best_of

DRAWS = 8  # of words to take out, since what is left must be a prompt, too
FEWEST = 2  # words taken out; less is what a step does anyway


def regrown(bench: Workbench, most: int, averaged: int, insertions: int, likely: int) -> list[Hypothesis]:
    """Takes words out of the bench's prompt, and puts token after token in until it is as long as allowed.

    Args:
        bench: the prompt, of three words at the least; else nothing is found.
        most: how many words are taken out at the most; one stays at the least.
        averaged: over how many prompts a gradient is averaged.
        insertions: how many prompts are evaluated for each token.
        likely: how many more, at each place, with a token that the language model expects.

    Returns:
        All that was evaluated on the way, the deletions of one word among it, and what has grown last of all; nothing
        where nothing grows.
    """
    words = bench.words
    if len(words) <= FEWEST:
        return []
    alone = bench.trials.evaluate(bench.legal(deletions(bench.prompt, words)[: len(words)]))
    prompt = _drawn(bench, {h.ids: h.objective for h in alone}, min(most, len(words) - 1))
    if prompt is None:
        return []
    found, last = list(alone), None
    while len(prompt) < bench.longest:
        shorter = bench.at(prompt)
        scores = shorter.read(averaged)
        if scores is None:
            break
        grown = bench.trials.evaluate([*scores.insertions(insertions), *shorter.likely(likely)])
        if not grown:
            break
        found, last = [*found, *grown], best_of(grown)
        prompt = last.ids
    return [] if last is None else [*(h for h in found if h != last), last]


def _drawn(bench: Workbench, objectives: dict[Prompt, float], most: int) -> Prompt | None:
    """The prompt without some of its words; None where nothing that is left may stand.

    A word is the likelier to go, the better the prompt is without it alone.
    """
    words = bench.words
    worth = _standard([objectives.get(without(bench.prompt, [word])) for word in words])
    for _ in range(DRAWS):
        count = int(torch.randint(min(FEWEST, most), most + 1, (1,), generator=bench.generator))
        noise = -torch.empty(len(words)).exponential_(generator=bench.generator).log()  # Gumbel's
        gone = (worth - noise).argsort()[:count].tolist()
        if left := bench.legal([without(bench.prompt, [words[number] for number in gone])]):
            return left[0]
    return None


def _standard(objectives: Sequence[float | None]) -> torch.Tensor:
    """Values in standard deviations; those that are not known are as high as the highest."""
    known = [value for value in objectives if value is not None]
    highest = max(known, default=0.0)
    values = torch.tensor([highest if value is None else value for value in objectives])
    spread = values.std(correction=0)
    return values / spread if spread > 0 else torch.zeros_like(values)
