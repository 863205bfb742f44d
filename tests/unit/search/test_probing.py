"""Probe sampling: a draft says which candidates are evaluated, and is trusted as far as it agrees with the truth."""

from dataclasses import replace

import pytest
import torch
from test_autodan import make_problem
from tiny_models import tiny_gpt2
from torch import nn

from fuse_repro.errors import UsageError
from fuse_repro.models.metering import metering
from fuse_repro.objectives import MultiObjectiveLoss, PromptBatch
from fuse_repro.search import GASLITE, GCG, AutoPrompt, PromptProblem, RandomSearch
from fuse_repro.search.fixed_length import CandidateSearch
from fuse_repro.search.metering import counting
from fuse_repro.search.probing import Probing, agreement
from fuse_repro.search.projection import starting_prompts
from fuse_repro.search.trials import Trials

SEARCHES: dict[str, CandidateSearch] = {
    "gcg": GCG(tokens=4, candidates=40, top_k=30, steps=4),
    "gaslite": GASLITE(tokens=4, averaged=3, flips=3, candidates=40, steps=3),
    "autoprompt": AutoPrompt(tokens=4, candidates=40, steps=5),
    "l0": RandomSearch(tokens=4, candidates=40, steps=4),
    "l2": RandomSearch(tokens=4, candidates=40, steps=4, neighbourhood="l2"),
}


class Opposite(nn.Module):
    """Ranks prompts the other way round."""

    def __init__(self, objective: MultiObjectiveLoss) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, batch: PromptBatch) -> torch.Tensor:
        return -self.objective(batch).total


def copied(objective: MultiObjectiveLoss, *names: str) -> MultiObjectiveLoss:
    """The same terms, or some of them, in another object."""
    terms = {name: term for name, term in objective.terms.items() if not names or name in names}
    return MultiObjectiveLoss(terms, {name: objective.weights[name] for name in terms})


@pytest.fixture(scope="module")
def problem() -> PromptProblem:
    return make_problem(tiny_gpt2())


@pytest.fixture(scope="module")
def perfect(problem: PromptProblem) -> PromptProblem:
    """A problem whose draft is the objective itself."""
    return replace(problem, draft=replace(problem, objective=copied(problem.objective)))


@pytest.fixture(scope="module")
def fair(problem: PromptProblem) -> PromptProblem:
    """A problem whose draft is one of two terms."""
    return replace(problem, draft=replace(problem, objective=copied(problem.objective, "text")))


@pytest.fixture(scope="module")
def misleading(problem: PromptProblem) -> PromptProblem:
    opposite = MultiObjectiveLoss({"fluency": Opposite(copied(problem.objective))})
    return replace(problem, draft=replace(problem, objective=opposite))


def test_the_better_a_draft_agrees_the_fewer_of_its_best_are_taken() -> None:
    probing = Probing(share=16, filter=8)
    assert [probing.probes(count) for count in (3, 16, 64, 65, 512)] == [3, 4, 4, 5, 32]
    assert [probing.filtered(512, share) for share in (0.0, 0.25, 0.5, 0.9, 1.0)] == [64, 48, 32, 7, 1]
    assert probing.filtered(10, 0.0) == 2, "rounded up"
    true = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert agreement(true.exp(), true) == pytest.approx(1)
    assert agreement(-true, true) == pytest.approx(0)
    assert agreement(torch.zeros(4), true) == 0.5
    assert agreement(torch.tensor([1.0, 2.0, 4.0, 3.0]), true) == pytest.approx(0.9)  # 1 - 3 * 2 / (4 * 15)


@pytest.mark.parametrize("name", SEARCHES)
def test_by_a_draft_that_is_right_a_search_is_the_same_at_fewer_evaluations(
    perfect: PromptProblem, name: str
) -> None:
    search = SEARCHES[name]
    whole, probed = search.search(perfect), replace(search, probe=16).search(perfect)
    assert [step[0].ids for step in probed.steps] == [step[0].ids for step in whole.steps]
    assert probed.best.ids == whole.best.ids
    assert probed.best.objective == pytest.approx(whole.best.objective, abs=1e-4)
    assert probed.gradients == whole.gradients
    assert probed.evaluations < whole.evaluations / 2


@pytest.mark.parametrize(("draft", "most"), [("perfect", 4 + 1), ("misleading", 4 + 5)])
def test_as_many_are_evaluated_as_the_draft_calls_for_and_the_best_of_them_is_known(
    draft: str, most: int, request: pytest.FixtureRequest
) -> None:
    problem: PromptProblem = request.getfixturevalue(draft)
    generator = torch.Generator().manual_seed(0)
    with counting(problem.objective) as counts:
        trials = Trials(problem, counts, probing=Probing())
        prompts = list(dict.fromkeys(starting_prompts(problem, 40, 4, "random", generator)))
        assert len(prompts) == 40
        found = trials.evaluate(prompts)
    assert counts.evaluations == len(found)
    assert most - 4 < len(found) <= most, "some of the draft's best may be probes"
    known = {hypothesis.ids: hypothesis.objective for hypothesis in found}
    again = Trials(problem, counts)
    everything = {hypothesis.ids: hypothesis.objective for hypothesis in again.evaluate(prompts)}
    assert all(everything[ids] == pytest.approx(value, abs=1e-4) for ids, value in known.items())
    if draft == "perfect":
        assert min(known, key=known.__getitem__) == min(everything, key=everything.__getitem__)


def test_few_candidates_are_all_evaluated_and_no_draft_is_asked(fair: PromptProblem) -> None:
    assert fair.draft is not None
    generator = torch.Generator().manual_seed(0)
    prompts = list(dict.fromkeys(starting_prompts(fair, 5, 4, "random", generator)))
    with counting(fair.objective) as counts, counting(fair.draft.objective) as drafted:
        assert len(Trials(fair, counts, probing=Probing()).evaluate(prompts)) == len(prompts) == 5
    assert (counts.evaluations, drafted.evaluations) == (5, 0)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_same_seed_gives_the_same_and_the_budget_is_kept(fair: PromptProblem, name: str) -> None:
    search = replace(SEARCHES[name], probe=16, max_evaluations=23, steps=50)
    found = search.search(fair)
    assert found == search.search(fair)
    assert 0 < found.evaluations <= 23
    assert found.best.objective == min(step[0].objective for step in found.steps), name
    assert set(found.best.terms) == set(fair.objective.terms), (
        "the result has the objective's terms, not the draft's"
    )


def test_operations_of_the_draft_are_counted_and_its_prompts_are_not(fair: PromptProblem) -> None:
    assert fair.draft is not None
    search = replace(SEARCHES["gcg"], probe=16)
    with counting(fair.objective) as counts, counting(fair.draft.objective) as drafted:
        found = search.search(fair)
    assert found.evaluations == counts.evaluations
    assert drafted.evaluations > 3 * counts.evaluations
    with metering() as alone:
        fair.draft.objective(PromptBatch([found.best.text] * drafted.evaluations, fair.targets))
    assert counts.meter.flops > alone.flops > 0
    ended = replace(search, max_flops=counts.meter.flops / 2).search(fair)
    assert ended.evaluations < found.evaluations


@pytest.mark.parametrize("name", SEARCHES)
def test_probing_without_a_draft_is_refused_before_anything_is_computed(
    problem: PromptProblem, name: str
) -> None:
    with pytest.raises(UsageError, match=r"optimizer\.probe=16 needs a cheap draft.*optimizer\.probe=null"):
        replace(SEARCHES[name], probe=16).search(problem)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probe": 0}, r"optimizer\.probe=0 is not allowed: at least 1, or null"),
        ({"probe": 16, "probe_filter": 0}, r"optimizer\.probe_filter=0 is not allowed: at least 1"),
        ({"probe_filter": -1}, r"optimizer\.probe_filter=-1 is not allowed: at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GCG(**settings)  # type: ignore[arg-type]
