"""What the answer term refuses, in one line each."""

import pytest
import torch
from answer_checks import FACTS
from tiny_masked_lms import tiny_lm
from tiny_models import tiny_bert_encoder, tiny_gpt2

from fuse_repro.data.prompt_task import Item
from fuse_repro.errors import UsageError
from fuse_repro.objectives import AnswerTerm, PromptBatch


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"template": "[X] [Y]"},
            r"objective\.answer\.template='\[X\] \[Y\]'.*\{prompt\} and \[Y\] once each",
        ),
        ({"template": "[X] {prompt}"}, r"objective\.answer\.template.*\[Y\] once each"),
        ({"template": "[X] {prompt} {prompt} [Y]"}, "once each"),
        ({"template": "[X] [X] {prompt} [Y]"}, r"\[X\] at most once"),
        ({"template": "[X] [Y] {prompt}"}, r"\[Y\] before \{prompt\} or \[X\].*put \[Y\] last"),
        ({"template": "{prompt} [Y] [X]"}, r"\[Y\] before \{prompt\} or \[X\].*tiny_gpt2"),
        ({"candidates": "words"}, r"objective\.answer\.candidates='words'.*vocabulary, answers"),
        ({"chat": True}, r"objective\.answer\.chat=true.*tiny_gpt2 has no chat template"),
    ],
)
def test_settings(settings, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        AnswerTerm("answer", tiny_gpt2(), **settings)
    assert "\n" not in str(caught.value)


def test_a_model_has_to_be_a_language_model() -> None:
    with pytest.raises(UsageError, match=r"objective\.answer\.model.*causal or masked language model"):
        AnswerTerm("answer", tiny_bert_encoder())
    AnswerTerm("answer", tiny_lm("bert"), template="[Y] {prompt} [X]")  # masked models read what follows


@pytest.mark.parametrize(
    ("settings", "items", "message"),
    [
        ({}, (), "target of answer.*at least one example"),
        (
            {},
            (Item("", "Paris"),),
            r"template of objective\.answer has a \[X\], but the text of an example is ''",
        ),
        ({"template": "{prompt} [Y]"}, FACTS, r"has no \[X\], but the text of an example is 'The capital"),
        ({}, (Item("France", ""),), "an answer of answer=''.*has tokens for"),
        ({}, (Item("France", " "),), "an answer of answer=' '"),
        ({"candidates": "answers"}, FACTS, r"answers of one token, but tiny_gpt2 writes '\w+' with \d"),
        ({}, (Item("a " * 80, "a"),), r"an example of answer makes \d+ tokens.*tiny_gpt2 reads at most 64"),
    ],
)
def test_targets(settings, items, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AnswerTerm("answer", tiny_gpt2(), **settings).target(items)


def test_an_answer_has_to_be_among_those_that_compete() -> None:
    term = AnswerTerm("answer", tiny_gpt2(), candidates="answers")
    with pytest.raises(UsageError, match=r"\['the'\].*one of the answers that compete"):
        term.target((Item("France", "the"),), ("a", "of"))


def test_batches() -> None:
    lm = tiny_gpt2()
    term = AnswerTerm("answer", lm)
    with pytest.raises(UsageError, match=r"'answer' has no examples.*target\(examples\)"):
        term(PromptBatch([" a"]))
    with pytest.raises(
        UsageError, match=r"makes \d+ tokens with its prompt and answer, but tiny_gpt2 reads at most 64"
    ):
        term(PromptBatch([" the dog" * 40], {"answer": term.target(FACTS)}))
    fixed = AnswerTerm("answer", lm, template="{prompt} [Y]")
    with pytest.raises(UsageError, match="cannot answer an empty prompt with nothing before it"):
        fixed(PromptBatch([""], {"answer": fixed.target((Item("", "a"),))}))


def test_texts_as_long_as_the_model_reads_are_read() -> None:
    """Rows of other lengths beside them do not push them over the end."""
    lm = tiny_gpt2()
    long = Item(" ".join(["a"] * 60), "a")
    term = AnswerTerm("answer", lm)
    short, both = (
        term(PromptBatch([" of", " a"], {"answer": term.target(e)})) for e in ((FACTS[1],), (FACTS[1], long))
    )
    assert both.isfinite().all()
    assert not torch.equal(short, both)
