"""Where text, prompt, mask and special tokens stand, in every architecture."""

import pytest
import torch
from tiny_masked_lms import ARCHITECTURES, CAUSAL, MASKED, tiny_lm

from fuse_repro.errors import UsageError
from fuse_repro.prompts import for_model
from fuse_repro.tasks.layout import Layout, by_length, collate

TEXT = "the cat"


@pytest.mark.parametrize("architecture", MASKED)
def test_masked_models_answer_at_the_mask_behind_the_prompt(architecture: str) -> None:
    lm = tiny_lm(architecture)
    tokens = lm.tokenizer
    text, stop = tokens.encode([TEXT, " ."])
    row = Layout(lm, "postfix", 3).rows([TEXT])[0]
    assert row.ids == (*tokens.prefix_ids, *text, -1, -1, -1, lm.mask_id, *stop, *tokens.suffix_ids)
    assert row.ids[row.answer] == lm.mask_id
    front = Layout(lm, "prefix", 3).rows([TEXT])[0]
    assert front.ids == (-1, -1, -1, *tokens.prefix_ids, *text, lm.mask_id, *stop, *tokens.suffix_ids)
    assert front.ids[front.answer] == lm.mask_id


@pytest.mark.parametrize("architecture", CAUSAL)
def test_causal_models_answer_behind_the_last_token(architecture: str) -> None:
    lm = tiny_lm(architecture)
    text = lm.tokenizer.encode([TEXT])[0]
    row = Layout(lm, "postfix", 2).rows([TEXT])[0]
    assert row.ids == (*lm.tokenizer.prefix_ids, *text, -1, -1)
    front = Layout(lm, "prefix", 2).rows([TEXT])[0]
    assert front.ids == (-1, -1, *lm.tokenizer.prefix_ids, *text)
    assert row.answer == front.answer == len(row.ids) - 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_template_is_the_text_as_the_tokenizer_reads_it(architecture: str) -> None:
    lm = tiny_lm(architecture)
    row = Layout.of(lm, "I see [X] near the [Y] .").rows([TEXT])[0]
    if architecture in MASKED:
        whole = f"I see {TEXT} near the {lm.tokenizer.mask_token} ."
        expected = lm.tokenizer.tokenizer(whole)["input_ids"]
        assert expected[row.answer] == lm.mask_id
    else:
        expected = lm.tokenizer.tokenizer(f"I see {TEXT} near the")["input_ids"]
        assert row.answer == len(expected) - 1
    assert list(row.ids) == expected


def test_only_masked_models_answer_before_the_text() -> None:
    template = "[Y] : [X]"
    row = Layout.of(tiny_lm("bert"), template).rows([TEXT])[0]
    assert row.answer == 1
    with pytest.raises(
        UsageError, match=r"asks for \[Y\] before \[X\], which the causal model tiny-gpt2 cannot"
    ):
        Layout.of(tiny_lm("gpt2"), template)
    with pytest.raises(UsageError, match=r"a text with \[X\] and \[Y\], once each"):
        Layout.of(tiny_lm("bert"), "no marks")


def test_long_texts_are_cut_and_counted() -> None:
    lm = tiny_lm("bert")
    text = "the cat and the dog and the cat"
    whole = Layout(lm, "postfix", 2).rows([text])[0]
    short, fits = Layout(lm, "postfix", 2, None, 3).rows([text, "cat"])
    assert short.cut == len(lm.tokenizer.encode([text])[0]) - 3
    assert len(short.ids) == len(whole.ids) - short.cut
    assert (whole.cut, fits.cut) == (0, 0)
    template = Layout(lm, template="[X] is a [Y] .", max_text_tokens=3).rows([text])[0]
    assert template.ids[template.answer] == lm.mask_id
    with pytest.raises(
        UsageError, match=r"tokens with its prompt, but tiny-bert reads at most 80: set max_text"
    ):
        Layout(lm, "postfix", 2).rows(["cat " * 100])


def test_an_empty_text_needs_a_special_token() -> None:
    assert Layout(tiny_lm("gemma3"), template="[X] [Y]").rows([""])[0].answer == 0
    with pytest.raises(UsageError, match="text='' is not allowed: a text that tiny-gpt2 has tokens for"):
        Layout(tiny_lm("gpt2"), template="[X] [Y]").rows([""])


def test_a_batch_pads_on_the_right_and_numbers_the_slots() -> None:
    lm = tiny_lm("bert")
    rows = Layout(lm, "postfix", 2).rows(["cat", "the old bridge"])
    batch = collate(rows, lm.device)
    assert batch.mask is not None
    assert batch.mask.sum(dim=1).tolist() == [len(row.ids) for row in rows]
    for row, slots in zip(rows, batch.slots.tolist(), strict=True):
        assert [slots[place] for place, token in enumerate(row.ids) if token == -1] == [0, 1]
        assert sum(slot >= 0 for slot in slots) == 2
    assert collate(rows[:1], lm.device).mask is None


def test_batches_hold_every_row_once_and_like_with_like() -> None:
    lm = tiny_lm("bert")
    rows = Layout(lm, "postfix", 2).rows(["cat", "the old bridge", "a", "the old bridge and the cat"])
    order = by_length([len(row.ids) for row in rows])
    found = [order[:2], order[2:]]
    assert sorted(number for batch in found for number in batch) == [0, 1, 2, 3]
    assert found[0] == [number for number in found[0] if number in (0, 2)]


def test_a_prompt_of_another_size_is_refused() -> None:
    prompt = for_model(tiny_lm("llama"), torch.ones(2, 32))
    with pytest.raises(UsageError, match="made for other weights or another tokenizer than tiny-bert's"):
        Layout.of(tiny_lm("bert"), prompt)
