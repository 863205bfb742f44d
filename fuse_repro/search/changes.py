"""A step of refinement: tokens of one prompt exchanged, put in, taken out, moved, and the best exchanges together."""

from collections.abc import Sequence

from fuse_repro.search.edits import deletions, joined, moves
from fuse_repro.search.frontier import best_first
from fuse_repro.search.problem import Hypothesis
from fuse_repro.search.workbench import Workbench

TRIED = 2  # times as many exchanges are gone through, since many stand at one place


def changed(
    bench: Workbench, averaged: int, exchanges: int, insertions: int, shifts: int, combined: int, likely: int
) -> list[Hypothesis] | None:
    """What was evaluated and may be kept; None where the budget is spent.

    It scores all tokens at all places by the averaged gradient and by the estimate without gradients. It evaluates the
    best exchanges and insertions that are not known yet, deletions and moves; then the best exchanges together.

    Args:
        bench: the prompt.
        averaged: over how many prompts the gradient is averaged.
        exchanges: how many prompts with another token, equally many at each place.
        insertions: how many with one more token.
        shifts: how many with a word at another place.
        combined: how often exchanges are made together, at the most.
        likely: how many with a token that the language model expects, at each place.
    """
    scores = bench.read(averaged)
    if scores is None:
        return None
    single = bench.trials.evaluate(scores.exchanges(exchanges))
    others = moves(bench.prompt, bench.words, shifts, bench.generator)
    if len(bench.words) > 1:
        others += deletions(bench.prompt, bench.words)
    others = bench.new(others)
    if len(bench.prompt) < bench.longest and insertions:
        others += scores.insertions(insertions)
    found = [*single, *bench.trials.evaluate([*others, *bench.likely(likely)])]
    return [*found, *_together(bench, best_first(single), combined)]


def _together(bench: Workbench, ranked: Sequence[Hypothesis], count: int) -> list[Hypothesis]:
    """Up to `count` prompts of several exchanges: the best one, and of the next ones each that betters the prompt.

    Args:
        bench: the prompt.
        ranked: it with one token exchanged, best first; of one place the first counts.
        count: of prompts that are evaluated.
    """
    found: list[Hypothesis] = []
    chosen, best = [h.ids for h in ranked[:1]], ranked[:1]
    for other in ranked[1 : 1 + TRIED * count]:
        new = bench.trials.evaluate(bench.new(joined(bench.prompt, [*chosen, other.ids])[-1:]))
        found += new
        if new and new[0].objective < best[0].objective:
            chosen.append(other.ids)
            best = new
        if len(found) == count:
            break
    return found
