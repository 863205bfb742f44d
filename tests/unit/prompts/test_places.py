"""Where a soft prompt stands for PEFT: behind a model's own first token, with that token as the file's first row."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_masked_lms import ARCHITECTURES, tiny_lm

from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import (
    AFTER_BOS,
    PEFT_KEY,
    PEFT_WEIGHTS,
    SoftPrompt,
    for_model,
    load_peft,
    normal_init,
    peft_place,
    save_peft,
)
from fuse_repro.runners.transfer.felt import felt
from fuse_repro.tasks.layout import Layout, collate
from fuse_repro.tasks.predict import answer_logits, fill

TEXT = "The cat and the bridge"


def drawn(lm: FrozenModel, position: str) -> SoftPrompt:
    return for_model(lm, normal_init(lm, 3, torch.Generator().manual_seed(0)), position)


@torch.no_grad()
def ours(lm: FrozenModel, prompt: SoftPrompt) -> torch.Tensor:
    batch = collate(Layout.of(lm, prompt).rows([TEXT]), lm.device)
    return answer_logits(lm, fill(batch, lm.embed(batch.ids), prompt.embeddings), batch.mask, batch.answers)[
        0
    ]


@torch.no_grad()
def by_peft(architecture: str, folder: Path, special: bool) -> torch.Tensor:
    """What peft's own forward says behind TEXT, as transformers' tokenizer gives it."""
    lm = tiny_lm(architecture)
    model = PeftModel.from_pretrained(lm.model, folder).eval()
    words = lm.tokenizer.tokenizer(TEXT, add_special_tokens=special, return_tensors="pt")
    logits = model(input_ids=words.input_ids, attention_mask=words.attention_mask).logits
    return logits[0, -1, : lm.tokenizer.vocab_size]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3"])
def test_peft_reads_it_behind_the_first_token(architecture: str, tmp_path: Path) -> None:
    """Of a text without special tokens peft makes exactly what is tuned and evaluated here."""
    lm = tiny_lm(architecture)
    prompt = drawn(lm, AFTER_BOS)
    save_peft(prompt, tmp_path, lm)
    front = len(lm.tokenizer.prefix_ids)
    rows = load_file(tmp_path / PEFT_WEIGHTS)[PEFT_KEY]
    assert rows.shape == (3 + front, 32)
    torch.testing.assert_close(
        rows[:front], lm.embed(torch.tensor(lm.tokenizer.prefix_ids, dtype=torch.long))
    )
    torch.testing.assert_close(by_peft(architecture, tmp_path, special=False), ours(lm, prompt))
    again = load_peft(tmp_path, lm)
    assert torch.equal(again.embeddings, prompt.embeddings)
    assert (again.position, again.length) == (AFTER_BOS, 3)


def test_with_the_token_twice_peft_reads_something_else(tmp_path: Path) -> None:
    """Why the page says how to tokenise."""
    lm = tiny_lm("gemma3")
    save_peft(drawn(lm, AFTER_BOS), tmp_path, lm)
    assert not torch.allclose(by_peft("gemma3", tmp_path, special=True), ours(lm, drawn(lm, AFTER_BOS)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_three_places(architecture: str) -> None:
    lm = tiny_lm(architecture)
    own, slots = lm.tokenizer.prefix_ids, (-1, -1, -1)
    words = tuple(lm.tokenizer.encode([TEXT])[0])
    begun = {
        "prefix": (*slots, *own, *words),
        AFTER_BOS: (*own, *slots, *words),
        "postfix": (*own, *words, *slots),
    }
    for position, head in begun.items():
        row = Layout(lm, position, 3).rows([TEXT])[0]
        assert row.ids[: len(head)] == head


@pytest.mark.parametrize(
    ("architecture", "position", "bos", "place"),
    [
        ("gemma3", "prefix", "auto", AFTER_BOS),
        ("gemma3", "prefix", "row", AFTER_BOS),
        ("gemma3", "prefix", "none", "prefix"),
        ("gemma3", AFTER_BOS, "none", "prefix"),
        ("gemma3", "postfix", "row", "postfix"),
        ("llama", "prefix", "row", "prefix"),
        ("llama", AFTER_BOS, "auto", "prefix"),
        ("bert", "prefix", "auto", "prefix"),
        ("bert", "prefix", "row", AFTER_BOS),
    ],
)
def test_the_place_for_peft(architecture: str, position: str, bos: str, place: str) -> None:
    assert peft_place(tiny_lm(architecture), position, bos) == place


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match=r"runner.bos='both' is not allowed: one of auto, row, none"):
        peft_place(tiny_lm("llama"), "prefix", "both")


@pytest.mark.parametrize("front", ["4", "-1", "x", "", "9" * 30])
def test_a_file_that_says_nonsense_is_one_clear_line(front: str, tmp_path: Path) -> None:
    lm = tiny_lm("gemma3")
    save_peft(drawn(lm, AFTER_BOS), tmp_path, lm)
    with safe_open(tmp_path / PEFT_WEIGHTS, "pt") as file:
        metadata, rows = file.metadata(), file.get_tensor(PEFT_KEY)
    save_file({PEFT_KEY: rows}, tmp_path / PEFT_WEIGHTS, metadata | {"front": front})
    with pytest.raises(
        UsageError, match="of its 4 rows are a model's own first tokens: a number below 4"
    ) as raised:
        load_peft(tmp_path, lm)
    assert "\n" not in str(raised.value)


def test_a_prompt_is_felt_where_it_stands() -> None:
    lm = tiny_lm("gemma3")
    prompt = drawn(lm, "prefix")
    places = {place: felt(lm, replace(prompt, position=place)) for place in ("prefix", AFTER_BOS, "postfix")}
    assert all(value > 0 for value in places.values())
    assert len(set(places.values())) == 3
    without = tiny_lm("llama")
    assert felt(without, drawn(without, "prefix")) == felt(without, drawn(without, AFTER_BOS))
