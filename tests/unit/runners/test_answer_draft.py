"""The draft of prompts of answers: some of the examples, whichever are drawn now, and some of the models."""

import pytest
import torch
from answer_checks import FACTS, PROMPTS
from tiny_masked_lms import tiny_lm
from tiny_models import tiny_gemma3, tiny_gpt2, tiny_llama

from fuse_repro.data.prompt_task import Item
from fuse_repro.errors import UsageError
from fuse_repro.objectives import AnswerTerm, FluencyTerm, MultiObjectiveLoss, PromptBatch
from fuse_repro.runners.search.answer_draft import Few, objective_by
from fuse_repro.runners.search.answer_items import AnswerItem, Drawn
from fuse_repro.search.metering import counting

KEY = "runner.draft_models"
ALIKE = (*FACTS, FACTS[1], FACTS[0])  # texts that stand twice share what is read before the prompt


def value(term: AnswerTerm, examples: object) -> torch.Tensor:
    return term(PromptBatch(PROMPTS, {term.name: examples}))


@pytest.mark.parametrize("template", ["[X] {prompt} [Y]", "{prompt} [X] [Y]", "A {prompt} [X] [Y]"])
@pytest.mark.parametrize("numbers", [(0, 1), (3,), (4, 2, 1), (5, 0)])
@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama, lambda: tiny_lm("bert")])
def test_some_examples_are_worth_what_they_are_by_themselves(make, numbers, template: str) -> None:
    term = AnswerTerm("answer", make(), template=template)
    items = (
        [item for item in ALIKE if item.text != "Zürich"] if "Bert" in type(term.lm.model).__name__ else ALIKE
    )
    numbers = [number % len(items) for number in numbers]
    some = term.target(items).only(numbers)
    assert len(some) == len(numbers)
    alone = term.target([items[number] for number in numbers])
    torch.testing.assert_close(value(term, some), value(term, alone), atol=1e-5, rtol=1e-5)


def test_answers_that_compete_are_those_of_all_examples() -> None:
    answers = ["in", "a", "the"]
    items = [Item(item.text, answers[place % 3]) for place, item in enumerate(FACTS)]
    term = AnswerTerm("answer", tiny_gpt2(), candidates="answers")
    some = term.target(items, answers).only([2, 1])
    alone = term.target([items[2], items[1]], answers)
    torch.testing.assert_close(value(term, some), value(term, alone), atol=1e-5, rtol=1e-5)


def test_a_draft_has_the_first_examples_of_those_that_are_drawn_now() -> None:
    lm, other = tiny_gpt2(), tiny_gemma3()
    objective = MultiObjectiveLoss({"a": AnswerTerm("a", lm), "b": AnswerTerm("b", other)})
    drawn = Drawn(objective, AnswerItem("facts", FACTS), 3, seed=0)
    few = Few(drawn, 2)
    assert list(few) == ["a", "b"]
    seen = []
    for _ in range(3):
        for name in few:
            assert few[name].answers == drawn[name].answers[:2]
            assert few[name].pieces == drawn[name].pieces[:2]
        seen.append(few["a"].answers)
        drawn.redraw()
    assert len(set(seen)) > 1
    assert len(Few(drawn, None)["a"]) == len(Few(drawn, 9)["a"]) == 3


def test_a_draft_by_one_model_leaves_the_others_answers_out_and_is_no_evaluation() -> None:
    lm, other = tiny_gpt2(), tiny_gemma3()
    models = {"lm": lm, "other": other}
    terms = {"fluency": FluencyTerm(lm), "a": AnswerTerm("a", lm), "b": AnswerTerm("b", other)}
    objective = MultiObjectiveLoss(terms, {"a": 2.0, "fluency": 0.1})
    own = objective_by(objective, models, ["lm"], KEY)
    assert own.weights == {"fluency": 0.1, "a": 2.0}
    assert own.terms["a"] is objective.terms["a"]
    same = objective_by(objective, models, None, KEY)
    assert same is not objective
    assert same.weights == objective.weights
    batch = PromptBatch(
        PROMPTS, {name: objective.terms[name].target(FACTS) for name in "ab"}, torch.ones(4), torch.ones(4)
    )
    with counting(objective) as counts:
        assert same(batch).total.equal(objective(batch).total)
        own(batch)
    assert counts.evaluations == len(PROMPTS)
    with pytest.raises(UsageError, match=r"runner\.draft_models=\['silent'\]"):
        objective_by(objective, models | {"silent": tiny_llama()}, ["silent"], KEY)
