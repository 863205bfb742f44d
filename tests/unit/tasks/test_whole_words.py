"""Answers of several tokens and several right answers: what is scored, refused, left out and counted."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_masked_lms import ARCHITECTURES, tiny_lm

from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.prompts import for_model, normal_init
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.tuning import tune
from fuse_repro.tasks import Answers, answerable, check_answers, evaluate
from fuse_repro.tasks.answers import NOT_ONE_TOKEN, word_pieces
from fuse_repro.tasks.layout import Layout
from fuse_repro.tasks.predict import answer_log_probs
from fuse_repro.tasks.whole_words import WholeWordReader

WORDS = ("the", "a", "zebra crossings", "quite frozen", "a cat")
SPLITS = {
    "train": (Item("cat", "the"), Item("dog", "zebra crossings"), Item("boat", "quite frozen")),
    "dev": (Item("tree", "the"), Item("kite", "zebra crossings")),
    "test": (Item("bridge", "a"), Item("wine", "zebra crossings"), Item("lake", "quite frozen")),
}
TASK = PromptTask("demo", WORDS, SPLITS, "[X] is [Y] .", multi_token="whole")


def by_hand(lm: FrozenModel, text: str, pieces: tuple[int, ...], prompt: torch.Tensor) -> float:
    """The log-probability of all pieces, from whole forward passes, one candidate and one position at a time."""
    row = Layout(lm, "postfix", len(prompt)).rows([text])[0]
    stem = (lm.mask_id,) * (len(pieces) - 1) if isinstance(lm, MaskedLM) else pieces[:-1]
    ids = [*row.ids[: row.answer + 1], *stem, *row.ids[row.answer + 1 :]]
    place = ids.index(-1)
    embeddings = lm.embed(torch.tensor([max(i, 0) for i in ids]))
    embeddings[place : place + len(prompt)] = prompt
    log_probs = lm(embeddings[None], None)[0].float().log_softmax(-1)
    return sum(float(log_probs[row.answer + step, piece]) for step, piece in enumerate(pieces))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_a_candidate_is_scored_by_all_of_its_tokens(architecture: str) -> None:
    lm = tiny_lm(architecture)
    answers = Answers.of(lm, WORDS, "whole")
    assert answers.pieces is not None
    texts, prompt = ["bridge", "the old bridge crosses a lake"], normal_init(lm, 3, torch.Generator())
    rows = Layout(lm, "postfix", 3).rows(texts)
    found = WholeWordReader(lm, rows, answers.pieces).logits([0, 1], prompt)
    assert found.shape == (2, len(answers.words))
    expected = [[by_hand(lm, text, pieces, prompt) for pieces in answers.pieces] for text in texts]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_words_of_one_token_are_answered_as_ever(architecture: str) -> None:
    """Scoring whole words gives single tokens the values, and the order, that they have among themselves."""
    lm = tiny_lm(architecture)
    rows = Layout(lm, template="[X] is [Y] .").rows(["bridge", "a lake"])
    words = ["the", "a", "of"]
    assert Answers.of(lm, words, "whole").pieces is None
    ids = Answers.of(lm, words).ids
    whole = WholeWordReader(lm, rows, [(token,) for token in ids.tolist()]).logits([0, 1], None)
    torch.testing.assert_close(whole.log_softmax(-1), answer_log_probs(lm, rows, None, ids))


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "gemma3"])
@pytest.mark.parametrize("soft", [True, False])
def test_every_item_is_asked_with_soft_and_written_prompts(architecture: str, soft: bool) -> None:
    lm = tiny_lm(architecture)
    prompt = for_model(lm, normal_init(lm, 3, torch.Generator().manual_seed(1))) if soft else TASK.template
    found = evaluate(lm, prompt, TASK)
    assert (found.items, found.candidates, found.skipped) == (3, 5, {})
    assert found.hits == evaluate(lm, prompt, TASK, batch_size=1).hits
    gold = ("a", "zebra crossings", "quite frozen")
    assert found.hits == tuple(one == other for one, other in zip(found.predictions, gold, strict=True))
    dropped = evaluate(lm, prompt, replace(TASK, multi_token="drop"))
    assert dropped.items == 1
    assert dropped.skipped == {NOT_ONE_TOKEN: 2}


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_a_prompt_is_tuned_towards_whole_words(architecture: str) -> None:
    lm = tiny_lm(architecture)
    settings = PromptTuning(
        m=3, max_steps=40, evaluate_every=20, torch_optimizer={"_target_": "torch.optim.Adam", "lr": 0.1}
    )
    task = replace(
        TASK, splits={**SPLITS, "dev": tuple(replace(i, text=f"{i.text} !") for i in SPLITS["train"])}
    )
    started = for_model(lm, normal_init(lm, 3, torch.Generator().manual_seed(0)))
    before = evaluate(lm, started, task, "train").loss
    tuned = tune(lm, task, settings).prompt
    assert evaluate(lm, tuned, task, "train").loss < before - 0.1


def test_refuse_names_the_words_their_tokens_and_what_else_there_is() -> None:
    lm = tiny_lm("gpt2")
    task = replace(TASK, multi_token="refuse")
    said = r"no single token of tiny-gpt2: 'zebra crossings' \( ze.*dataset.multi_token=whole .*, first .*, or drop"
    for ask in (
        lambda: Answers.of(lm, WORDS, "refuse"),
        lambda: evaluate(lm, task.template, task),
        lambda: check_answers([task], [lm]),
        lambda: answerable(task, [lm]),
    ):
        with pytest.raises(UsageError, match=said) as raised:
            ask()
        assert "\n" not in str(raised.value)
    check_answers(
        [replace(task, answers=("the",), splits={**dict.fromkeys(SPLITS, ()), "test": (Item("x", "the"),)})],
        [lm],
    )


def test_first_asks_for_the_first_token_and_refuses_words_that_share_it() -> None:
    lm = tiny_lm("gpt2")
    words = ["the", "zebra crossings", "quite frozen"]
    answers = Answers.of(lm, words, "first")
    pieces = word_pieces(lm, words)
    assert answers.pieces is None
    assert answers.ids.tolist() == [pieces[word][0] for word in words]
    with pytest.raises(UsageError, match="does not tell 'zebra crossings' from 'zebra stripes'"):
        Answers.of(lm, [*words, "zebra stripes"], "first")


def test_models_are_compared_on_what_the_task_allows() -> None:
    models = [tiny_lm("bert"), tiny_lm("gpt2")]
    assert answerable(TASK, models).answers == WORDS
    assert answerable(replace(TASK, multi_token="drop"), models).answers == ("the", "a")


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match=r"dataset.multi_token=.all. is not allowed: one of drop, refuse"):
        replace(TASK, multi_token="all")


def several(*items: Item) -> PromptTask:
    return PromptTask(
        "several", ("the", "a", "of"), dict.fromkeys(("train", "dev"), ()) | {"test": items}, "[X] [Y]"
    )


@pytest.mark.parametrize("soft", [True, False])
def test_any_of_several_right_answers_is_right(soft: bool) -> None:
    lm = tiny_lm("llama")
    prompt = for_model(lm, normal_init(lm, 3, torch.Generator())) if soft else "[X] [Y]"
    texts = ("bridge", "wine", "lake")
    all_right = evaluate(lm, prompt, several(*(Item(text, "the", ("a", "of")) for text in texts)))
    assert all_right.accuracy == 1.0
    assert all_right.loss == pytest.approx(0.0, abs=1e-6)
    one = evaluate(lm, prompt, several(*(Item(text, "the") for text in texts)))
    two = evaluate(lm, prompt, several(*(Item(text, "the", ("a",)) for text in texts)))
    assert two.hits == tuple(word in ("the", "a") for word in one.predictions)
    assert two.loss < one.loss
    assert math.isfinite(two.loss)


def test_right_answers_that_a_model_lacks_are_left_out_of_an_item_alone() -> None:
    items = (Item("pasta", "zebra crossings", ("the",)), Item("wine", "zebra crossings"))
    task = replace(TASK, splits={**SPLITS, "test": items}, multi_token="drop")
    kept = answerable(task, [tiny_lm("gpt2")])
    assert kept.splits["test"] == (Item("pasta", "the"),)
    assert kept.dropped[NOT_ONE_TOKEN] == 4  # with the two of train and the one of dev
    assert evaluate(tiny_lm("gpt2"), task.template, task).items == 1


def test_several_right_answers_count_where_a_prompt_is_tuned() -> None:
    """Dev counts any right answer, so that every look at it is perfect here."""
    splits = {
        name: tuple(Item(f"{word} {name}", "the", ("a", "of")) for word in ("cat", "dog")) for name in SPLITS
    }
    task = PromptTask("several", ("the", "a", "of"), splits, "[X] [Y]")
    found = tune(tiny_lm("gpt2"), task, PromptTuning(m=2, max_steps=2, evaluate_every=1))
    assert found.dev_accuracy == 1.0


def test_the_digest_knows_right_answers_and_what_is_done_with_tokens() -> None:
    plain = several(Item("bridge", "the"))
    assert (
        len(
            {
                plain.digest,
                several(Item("bridge", "the", ("a",))).digest,
                replace(plain, multi_token="whole").digest,
            }
        )
        == 3
    )
