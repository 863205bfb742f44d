"""Screening: candidates in bfloat16, what is kept in float32."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_bert_encoder, tiny_clip, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import FuseAdapterModule
from fuse_repro.errors import UsageError
from fuse_repro.models.metering import metering
from fuse_repro.objectives import FluencyTerm, MultiObjectiveLoss, PromptBatch, TextMatchTerm
from fuse_repro.search import AutoDAN, PromptProblem, SearchResult
from fuse_repro.search.screening import Screen, promising

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
SEARCHES = {
    "calibrated": AutoDAN(candidates=16, beam=3, max_new_tokens=5, zeroth="context", calibrated=True),
    "never stops": AutoDAN(candidates=16, beam=3, max_new_tokens=4, stop="never"),
    "greedy": AutoDAN(candidates=16, beam=3, frontier="greedy", max_new_tokens=4),
    "uniform cost": AutoDAN(candidates=16, beam=3, frontier="uniform_cost", max_new_tokens=2),
    "bounded": AutoDAN(candidates=16, beam=3, max_new_tokens=5, max_evaluations=70),
}


@pytest.fixture(scope="module", params=[tiny_bert_encoder, tiny_clip])
def problem(request: pytest.FixtureRequest) -> PromptProblem:
    lm, encoder = tiny_gpt2(), request.param()
    match = TextMatchTerm("text", encoder, FuseAdapterModule.fit(lm, encoder, WORDS))
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": match}, {"text": 20.0})
    return PromptProblem(lm, objective, "An image of", {"text": match.target("A cat on a table.")})


def test_with_all_candidates_computed_again_nothing_changes_to_the_bit(problem: PromptProblem) -> None:
    for name, search in SEARCHES.items():
        screening = replace(search, screen=search.candidates)
        plain, found = search.search(problem), screening.search(problem)
        assert found.best == plain.best, name
        assert found.steps == plain.steps, name
        assert (found.evaluations, found.gradients) == (plain.evaluations, plain.gradients), name


@pytest.mark.parametrize("screen", [3, 6])
def test_what_a_screening_search_reports_is_float32s(problem: PromptProblem, screen: int) -> None:
    found = replace(SEARCHES["calibrated"], screen=screen).search(problem)
    for beam in found.steps:
        texts = [h.text for h in beam]
        match = {"text": problem.objective.terms["text"]}
        exact = MultiObjectiveLoss(match, {"text": 20.0})(PromptBatch(texts, problem.targets))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = MultiObjectiveLoss(match, {"text": 20.0})(PromptBatch(texts, problem.targets))
        for row, hypothesis in enumerate(beam):
            close = hypothesis.terms["text"]["weighted"]
            assert close == pytest.approx(float(exact.total[row]), abs=1e-5)
            assert abs(close - float(exact.total[row])) < abs(close - float(rough.total[row]))


class Noted:
    """What an objective was asked, and in which precision."""

    def __init__(self, problem: PromptProblem, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: Counter[str] = Counter()
        forward = problem.objective.forward

        def noted(batch: PromptBatch) -> Any:
            if batch.slot is None:
                kind = "bfloat16" if torch.is_autocast_enabled("cpu") else "float32"
                self.asked[kind] += len(batch.texts)
            return forward(batch)

        monkeypatch.setattr(problem.objective, "forward", noted)


def spent(problem: PromptProblem, search: AutoDAN) -> tuple[SearchResult, int]:
    with metering() as meter:
        found = search.search(problem)
    return found, meter.flops


def test_both_passes_are_paid_for_and_a_candidate_counts_once(
    problem: PromptProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = replace(SEARCHES["never stops"], max_new_tokens=1)
    plain, cost = spent(problem, search)
    noted = Noted(problem, monkeypatch)
    found, more = spent(problem, replace(search, screen=4))
    assert noted.asked == {"bfloat16": 16, "float32": 4}
    assert found.evaluations == plain.evaluations == 16
    _, most = spent(problem, replace(search, screen=16))
    assert cost < more < most


def test_a_bound_on_evaluations_holds(problem: PromptProblem) -> None:
    found = replace(SEARCHES["bounded"], screen=3).search(problem)
    assert found.evaluations == 70


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.booleans()), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(0, 5),
)
def test_the_best_of_either_group_are_promising(
    members: list[tuple[float, bool]], kept: int, more: int
) -> None:
    screen = Screen(kept + more, 10, kept)
    values, groups = [value for value, _ in members], [group for _, group in members]
    places = promising(values, groups, screen)
    assert places == sorted(set(places))
    for group in (False, True):
        own = [place for place, kind in enumerate(groups) if kind == group]
        chosen = [place for place in own if place in places]
        assert len(chosen) == min(len(own), screen.room(len(own)))
        left = [values[place] for place in own if place not in places]
        assert not left or max(values[place] for place in chosen) <= min(left)
    assert promising(values, groups, Screen(10, 10, kept)) == list(range(len(values)))


@pytest.mark.parametrize("screen", [2, 17, 0, -1, True, 4.0, "many"])
def test_a_screen_out_of_range(screen: Any) -> None:
    said = (
        rf"^optimizer\.screen={screen!r} is not allowed: null, or a whole number from optimizer\.beam=3 to "
    )
    with pytest.raises(UsageError, match=f"{said}.*candidates=16; of every"):
        AutoDAN(candidates=16, beam=3, screen=screen)
