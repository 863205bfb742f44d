"""Precision@1, candidates of one token, and the two means."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_masked_lms import ARCHITECTURES, tiny_lm

from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.prompts import SoftPrompt, for_model, normal_init
from fuse_repro.tasks import Answers, Evaluation, Exams, answerable, averages, evaluate
from fuse_repro.tasks.answers import NOT_ONE_TOKEN

SPLITS = {
    "train": (Item("cat", "a"),),
    "dev": (Item("dog", "the"),),
    "test": (Item("bridge", "a"), Item("wine", "the"), Item("lake", "zebra crossings"), Item("kite", "the")),
}
TASK = PromptTask("demo", ("a", "the", "zebra crossings", "of"), SPLITS, "[X] is [Y] .")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hits_are_the_items_whose_answer_is_most_probable(architecture: str) -> None:
    lm = tiny_lm(architecture)
    prompt = for_model(lm, normal_init(lm, 3, torch.Generator().manual_seed(1)))
    found = evaluate(lm, prompt, TASK)
    assert found.items == 3
    assert found.skipped == {NOT_ONE_TOKEN: 1}
    assert found.candidates == 3
    gold = ("a", "the", "the")
    assert found.hits == tuple(one == other for one, other in zip(found.predictions, gold, strict=True))
    assert found.accuracy == sum(found.hits) / 3
    assert found.accuracy_counting_skipped == sum(found.hits) / 4
    assert math.isfinite(found.loss)
    assert found == evaluate(lm, prompt.embeddings, TASK, batch_size=64)
    assert found.hits == evaluate(lm, prompt, TASK, batch_size=1).hits
    assert evaluate(lm, TASK.template, TASK).items == 3


def test_a_prompt_that_copies_the_answer_is_right() -> None:
    """With only one candidate everything is right, whatever the prompt."""
    lm = tiny_lm("gpt2")
    one = TASK.only(["the"], "other")
    assert evaluate(lm, one.template, one).accuracy == 1.0
    assert evaluate(lm, one.template, one).loss == pytest.approx(0.0, abs=1e-6)
    assert one.dropped == {"other": 3}


def test_words_that_share_a_token_are_one_candidate() -> None:
    lm = tiny_lm("bert")  # lower-cases
    answers = Answers.of(lm, ["The", "the", "a", "zebra crossings", "[MASK]"])
    assert answers.words == ("The", "a")
    assert answers.index == {"The": 0, "the": 0, "a": 1}
    assert answers.skipped == ("zebra crossings", "[MASK]")
    assert answers.ids.tolist() == [ids[0] for ids in lm.tokenizer.word_ids(["the", "a"])]


def test_answers_carry_the_space_in_front_of_them() -> None:
    lm = tiny_lm("gpt2")
    answers = Answers.of(lm, ["the"])
    assert lm.tokenizer.decode([answers.ids.tolist()]) == [" the"]


def test_models_are_compared_on_what_all_of_them_can_answer() -> None:
    models = [tiny_lm("bert"), tiny_lm("gpt2"), tiny_lm("albert")]
    shared = answerable(TASK, models)
    assert shared.answers == ("a", "the", "of")
    assert shared.dropped == {NOT_ONE_TOKEN: 1}
    assert {evaluate(lm, shared.template, shared).items for lm in models} == {3}


def test_nothing_to_ask_is_one_clear_line() -> None:
    lm = tiny_lm("bert")
    with pytest.raises(
        UsageError, match=r"none of the 1 answers \('zebra crossings' ...\) is one token of tiny-bert"
    ):
        Answers.of(lm, ["zebra crossings"])
    task = PromptTask(
        "x", TASK.answers, {**SPLITS, "test": (Item("lake", "zebra crossings"),)}, TASK.template
    )
    with pytest.raises(
        UsageError, match=r"x has no test item whose answer is one token of tiny-bert \(1 have"
    ):
        evaluate(lm, task.template, task)
    with pytest.raises(UsageError, match="split='valid' is not allowed: one of train, dev, test"):
        evaluate(lm, task.template, task, "valid")
    other = tiny_lm("bert", seed=1)
    prompt = SoftPrompt(torch.ones(2, 32), "postfix", other.name, other.fingerprint)
    with pytest.raises(UsageError, match="transfer it first"):
        evaluate(lm, prompt, TASK)


def test_the_mean_over_relations_counts_each_once() -> None:
    def of(*hits: bool) -> Evaluation:
        return Evaluation("t", sum(hits) / len(hits), hits, ("a",) * len(hits), 0.0, 2, {}, 0)

    assert averages([of(True), of(False, False, True)]) == {
        "mean_over_relations": pytest.approx(2 / 3),
        "mean_over_facts": 0.5,
    }
    with pytest.raises(UsageError, match="at least one relation"):
        averages([])


def test_what_is_kept_between_prompts_does_not_change_what_they_get_right() -> None:
    exams = Exams()
    for architecture in ("llama", "bert"):
        lm = tiny_lm(architecture)
        for seed in range(3):
            drawn = normal_init(lm, 4, torch.Generator().manual_seed(seed))
            for prompt in (for_model(lm, drawn), TASK.template, "Of [X] I know [Y] ."):
                once, kept = evaluate(lm, prompt, TASK), exams.ask(lm, prompt, TASK)
                assert kept.hits == once.hits
                assert kept.loss == pytest.approx(once.loss, rel=1e-5)
    other = replace(TASK, name="other", answers=TASK.answers[::-1])
    assert exams.ask(lm, prompt, other).task == "other"
