"""Passes of the garbage collector while searches compute: none over the whole process, and afterwards as before."""

import gc
from collections.abc import Iterator
from threading import Barrier, Thread
from typing import Any

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import LookupMap
from fuse_repro.objectives import FluencyTerm, MultiObjectiveLoss, TextMatchTerm
from fuse_repro.search import AutoDAN, Optimizer, PromptProblem, RandomSearch
from fuse_repro.search.garbage import NEVER, without_full_passes
from fuse_repro.search.lockstep import searched

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TARGETS = ("A cat on a table.", "Two dogs run.")
EAGER = (50, 2, 2)  # thresholds with which full passes come often
AUTODAN = AutoDAN(candidates=8, beam=2, max_new_tokens=3, patience=1)
SEARCHES: dict[str, Optimizer] = {
    "autodan": AUTODAN,
    "random": RandomSearch(tokens=3, candidates=4, steps=4, replace=2),
}


@pytest.fixture(scope="module")
def problems() -> list[PromptProblem]:
    lm, encoder = tiny_gpt2(), tiny_bert_encoder()
    term = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder, WORDS))
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": term}, {"text": 20.0})
    return [PromptProblem(lm, objective, "An image of", {"text": term.target(text)}) for text in TARGETS]


@pytest.fixture
def eager() -> Iterator[tuple[int, int, int]]:
    """Full passes come often: they are due once a quarter of what a last one saw is new, and it sees little."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.collect()
    gc.set_threshold(*EAGER)
    yield EAGER
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture
def full_passes() -> Iterator[list[str]]:
    """Grows with every pass over all objects."""
    seen: list[str] = []

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "start" and info["generation"] == 2:
            seen.append(phase)

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


def test_thresholds_are_put_back(eager: tuple[int, int, int]) -> None:
    """After blocks in blocks, and after an error."""
    with without_full_passes():
        with pytest.raises(RuntimeError, match="inside"), without_full_passes():
            raise RuntimeError("inside")
        assert gc.get_threshold() == (*eager[:2], NEVER)
    assert gc.get_threshold() == eager


def test_thresholds_that_somebody_sets_meanwhile_stay(eager: tuple[int, int, int]) -> None:
    with without_full_passes():
        gc.set_threshold(60, 3, 3)
    assert gc.get_threshold() == (60, 3, 3)


def test_a_thread_that_leaves_first_leaves_the_other_inside(eager: tuple[int, int, int]) -> None:
    step, seen = Barrier(2, timeout=30), []

    def short() -> None:
        with without_full_passes():
            step.wait()

    def long() -> None:
        with without_full_passes():
            step.wait()
            first.join()
            seen.append(gc.get_threshold()[2])

    first, second = Thread(target=short), Thread(target=long)
    first.start(), second.start()
    first.join(), second.join()
    assert seen == [NEVER]
    assert gc.get_threshold() == eager


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_makes_no_full_pass(
    name: str, problems: list[PromptProblem], eager: tuple[int, int, int], full_passes: list[str]
) -> None:
    """Not even with thresholds at which any other work makes many; whoever reads its results has his own again."""
    before = len(full_passes)
    kept = [[number] for number in range(2000)]
    assert len(kept) == 2000
    assert len(full_passes) > before
    searches = searched(SEARCHES[name], problems)
    while True:
        gc.collect()  # so that none is due when the search goes on
        before = len(full_passes)
        ended = next(searches, None)
        assert len(full_passes) == before
        assert gc.get_threshold() == eager
        if ended is None:
            break
        assert ended.found().steps


def test_a_search_leaves_no_tensor_to_a_full_pass(problems: list[PromptProblem]) -> None:
    """Tensors of a search are freed as it goes, so passes over the whole process have nothing to find."""
    AUTODAN.search(problems[0])
    gc.collect()
    gc.disable()
    try:
        AUTODAN.search(problems[0])
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not [found for found in gc.garbage if isinstance(found, torch.Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
