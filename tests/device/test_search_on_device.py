"""Whole searches: the same prompts, and the same values of the objective."""

from typing import Any

import pytest
import torch
from asked import Asked
from tiny_models import tiny_bert_encoder, tiny_gemma3, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import FuseAdapterModule, LookupMap
from fuse_repro.objectives import FluencyTerm, MultiObjectiveLoss, TextMatchTerm
from fuse_repro.search import GCG, PEZ, AutoDAN, Linearisation, Optimizer, PromptProblem, RandomSearch
from fuse_repro.search.lockstep import searched

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
PAPER: dict[str, Any] = {"linearisation": Linearisation("dummy"), "zeroth": "none", "calibrated": False}
SEARCHES: dict[str, Optimizer] = {
    "autodan": AutoDAN(candidates=16, beam=3, max_new_tokens=4, stop="never"),
    "autodan as in the paper": AutoDAN(candidates=16, beam=3, max_new_tokens=4, stop="never", **PAPER),
    "gcg": GCG(tokens=4, candidates=12, top_k=20, steps=4),
    "pez": PEZ(tokens=3, steps=8, restarts=2),
    "random": RandomSearch(tokens=4, candidates=6, steps=6, replace=2),
}


@pytest.mark.parametrize("fitted", [FuseAdapterModule, LookupMap])
@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_finds_the_same_prompts(name: str, fitted: type, device: torch.device) -> None:
    found = []
    make = tiny_gemma3 if name == "gcg" else tiny_gpt2
    for where in ({"device": "cpu", "dtype": torch.float64}, {"device": device}):
        lm, encoder = make().to(**where), tiny_bert_encoder().to(**where)
        term = TextMatchTerm("text", encoder, fitted.fit(lm, encoder, WORDS))
        objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": term}, {"text": 20.0})
        targets = {"text": term.target("A cat on a table.")}
        found.append(SEARCHES[name].search(PromptProblem(lm, objective, "An image of", targets)))
    expected, got = found
    assert got.best.text == expected.best.text
    assert got.best.objective == pytest.approx(expected.best.objective, rel=1e-4)
    assert [beam[0].text for beam in got.steps] == [beam[0].text for beam in expected.steps]


@pytest.mark.parametrize("name", ["autodan", "autodan as in the paper"])
def test_searches_side_by_side_find_what_each_finds_alone(name: str, device: torch.device) -> None:
    """Three at once: the same prompts in every beam, values to a relative 1e-4, and the same costs."""
    lm, encoder = tiny_gpt2().to(device), tiny_bert_encoder().to(device)
    term = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder, WORDS))
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": term}, {"text": 20.0})
    texts = ("A cat on a table.", "A red boat near the old harbour.", "Two dogs run.")
    problems = [PromptProblem(lm, objective, "An image of", {"text": term.target(text)}) for text in texts]
    found = sorted(searched(SEARCHES[name], problems), key=lambda ended: ended.number)
    for got, problem in zip(found, problems, strict=True):
        (alone,) = searched(SEARCHES[name], [problem])
        assert got.cost == alone.cost
        for beam, expected in zip(got.found().steps, alone.found().steps, strict=True):
            assert [h.text for h in beam] == [h.text for h in expected]
            assert [h.objective for h in beam] == pytest.approx([h.objective for h in expected], rel=1e-4)


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("name", ["autodan", "autodan as in the paper"])
def test_no_step_waits_for_a_single_value(name: str, together: int, device: torch.device) -> None:
    """A prompt's likelihood is read as a search begins, and whole results by `tolist`; nothing else is asked for."""
    lm, encoder = tiny_gpt2().to(device), tiny_bert_encoder().to(device)
    term = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder, WORDS))
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": term}, {"text": 20.0})
    texts = ("A cat on a table.", "A red boat near the old harbour.")[:together]
    problems = [PromptProblem(lm, objective, "An image of", {"text": term.target(text)}) for text in texts]
    list(searched(SEARCHES[name], problems))  # tables that are made once
    with Asked() as asked:
        found = list(searched(SEARCHES[name], problems))
    assert [len(ended.found().steps) for ended in found] == [4] * together
    begins = "autodan.py: nll, scored = float(values[0]), int(counts[0])"
    assert asked.lines == {begins: 2 * together}
