"""Answers do not depend on batching, padding or the way they are computed."""

from typing import Any

import pytest
import torch
from tiny_masked_lms import ARCHITECTURES, CAUSAL, MASKED, tiny_lm
from tiny_models import tiny_opt

from fuse_repro.prompts import normal_init
from fuse_repro.tasks.layout import Layout, collate
from fuse_repro.tasks.predict import answer_log_probs, answer_logits, fill
from fuse_repro.tasks.reader import CachedReader, PlainReader, make_reader, reader_log_probs

TEXTS = [
    "France",
    "a cat on the table",
    "Japan and the old bridge in the evening light",
    "dog",
    "the red wine",
]


def prompt_of(lm: object, m: int = 3) -> torch.Tensor:
    return normal_init(lm, m, torch.Generator().manual_seed(0))  # type: ignore[arg-type]


@pytest.mark.parametrize("position", ["prefix", "postfix"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_results_do_not_depend_on_the_batch_split(architecture: str, position: str) -> None:
    lm = tiny_lm(architecture)
    rows = Layout(lm, position, 3).rows(TEXTS)
    candidates = torch.arange(5, 30)
    whole = answer_log_probs(lm, rows, prompt_of(lm), candidates)
    for size in (1, 2):
        torch.testing.assert_close(answer_log_probs(lm, rows, prompt_of(lm), candidates, size), whole)
    torch.testing.assert_close(whole.exp().sum(dim=1), torch.ones(len(TEXTS)))
    turned = answer_log_probs(lm, rows[::-1], prompt_of(lm), candidates, 2)
    torch.testing.assert_close(turned.flip(0), whole)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_head_is_applied_at_the_answer_only(architecture: str) -> None:
    lm = tiny_lm(architecture)
    batch = collate(Layout(lm, "postfix", 3).rows(TEXTS), lm.device)
    embeddings = fill(batch, lm.embed(batch.ids), prompt_of(lm))
    everywhere = lm(embeddings, batch.mask)
    there = everywhere[torch.arange(len(TEXTS)), batch.answers]
    torch.testing.assert_close(answer_logits(lm, embeddings, batch.mask, batch.answers), there)
    assert lm(embeddings, batch.mask).shape == everywhere.shape  # the model is as it was


def test_the_head_of_a_model_that_goes_round_its_base_model() -> None:
    lm = tiny_opt()
    embeddings = lm.embed(torch.arange(5, 17)[None])
    there = lm(embeddings)[:, 7]
    torch.testing.assert_close(answer_logits(lm, embeddings, None, torch.tensor([7])), there)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_on_either_side_changes_nothing(architecture: str) -> None:
    lm = tiny_lm(architecture)
    row = collate(Layout(lm, "postfix", 3).rows(TEXTS[1:2]), lm.device)
    embeddings = fill(row, lm.embed(row.ids), prompt_of(lm))
    plain = lm(embeddings, None)
    junk = torch.randn(1, 4, lm.embedding_size)
    real, padding = torch.ones(row.ids.shape), torch.zeros(1, 4)
    left = lm(torch.cat((junk, embeddings), dim=1), torch.cat((padding, real), dim=1))
    right = lm(torch.cat((embeddings, junk), dim=1), torch.cat((real, padding), dim=1))
    torch.testing.assert_close(left[:, 4:], plain)
    torch.testing.assert_close(right[:, :-4], plain)


@pytest.mark.parametrize("architecture", CAUSAL)
def test_kept_keys_and_values_change_neither_logits_nor_gradients(architecture: str) -> None:
    lm = tiny_lm(architecture)
    layout = Layout(lm, "postfix", 3)
    cached, plain = make_reader(layout, layout.rows(TEXTS)), PlainReader(lm, layout.rows(TEXTS))
    assert isinstance(cached, CachedReader)
    numbers = [4, 0, 2]
    found = []
    for reader in (cached, plain, cached):
        prompt = prompt_of(lm).requires_grad_()
        logits = reader.logits(numbers, prompt)
        logits.log_softmax(dim=-1)[:, 7].sum().backward()
        found.append((logits.detach(), prompt.grad))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_the_cache_is_left_out_where_it_does_not_fit_or_help() -> None:
    causal, masked = tiny_lm("llama"), tiny_lm("bert")
    layout = Layout(causal, "postfix", 3)
    assert isinstance(make_reader(layout, layout.rows(TEXTS), max_cache_bytes=100), PlainReader)
    assert isinstance(make_reader(layout, layout.rows(["", *TEXTS])), PlainReader)
    for other in (Layout(causal, "prefix", 3), Layout(masked, "postfix", 3)):
        assert isinstance(make_reader(other, other.rows(TEXTS)), PlainReader)


@pytest.mark.parametrize("architecture", MASKED)
def test_masked_models_take_embeddings_of_their_own_size(architecture: str) -> None:
    lm = tiny_lm(architecture)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        expected = lm.model(input_ids=ids).logits
    torch.testing.assert_close(lm(lm.embed(ids)), expected[..., : lm.tokenizer.vocab_size])
    assert lm.embedding_size == (20 if architecture == "albert" else 32)
    assert lm.max_tokens == (78 if architecture == "roberta" else 80)


def own_prompts(lm: object, numbers: list[int]) -> torch.Tensor:
    """One prompt for each item: [B, m, d]."""
    return torch.stack([normal_init(lm, 3, torch.Generator().manual_seed(n)) for n in numbers])  # type: ignore[arg-type]


@pytest.mark.parametrize("position", ["prefix", "postfix"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_items_with_prompts_of_their_own_are_read_as_one_by_one(architecture: str, position: str) -> None:
    lm = tiny_lm(architecture)
    layout, numbers = Layout(lm, position, 3), [4, 0, 2, 2]
    for reader in (make_reader(layout, layout.rows(TEXTS)), PlainReader(lm, layout.rows(TEXTS))):
        together = own_prompts(lm, numbers).requires_grad_()
        logits = reader.logits(numbers, together)
        (gradients,) = torch.autograd.grad(logits.log_softmax(dim=-1)[:, 7].sum(), together)
        for row, number in enumerate(numbers):
            alone = together[row].detach().requires_grad_()
            expected = reader.logits([number], alone)
            torch.testing.assert_close(logits[row : row + 1], expected)
            (gradient,) = torch.autograd.grad(expected.log_softmax(dim=-1)[:, 7].sum(), alone)
            torch.testing.assert_close(gradients[row], gradient)


@pytest.mark.parametrize("architecture", ["llama", "bert"])
def test_a_reader_answers_in_the_order_asked_whatever_the_batches(architecture: str) -> None:
    lm = tiny_lm(architecture)
    layout, candidates = Layout(lm, "postfix", 3), torch.arange(5, 30)
    rows, prompt = layout.rows(TEXTS), prompt_of(lm)
    expected = answer_log_probs(lm, rows, prompt, candidates)
    reader = make_reader(layout, rows)
    for size in (1, 2, 64):
        torch.testing.assert_close(reader_log_probs(reader, len(rows), prompt, candidates, size), expected)


@pytest.mark.parametrize("architecture", ["gpt2", "albert"])
def test_evaluation_goes_on_in_smaller_batches_where_memory_runs_out(
    architecture: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = tiny_lm(architecture)
    layout, candidates = Layout(lm, "postfix", 3), torch.arange(5, 30)
    rows, prompt = layout.rows(TEXTS), prompt_of(lm)
    expected = answer_log_probs(lm, rows, prompt, candidates)
    reader, forward = make_reader(layout, rows), lm.model.forward

    def small(*arguments: Any, **more: Any) -> Any:
        if len(more["inputs_embeds"]) > 2:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return forward(*arguments, **more)

    monkeypatch.setattr(lm.model, "forward", small)
    found = (
        answer_log_probs(lm, rows, prompt, candidates),
        reader_log_probs(reader, len(rows), prompt, candidates, 64),
    )
    for other in found:
        torch.testing.assert_close(other, expected)
    assert (
        capsys.readouterr().err
        == f"fuse-repro: {lm.name}: memory holds a batch of 2 items (5 were too many)\n"
    )


def test_short_and_long_items_do_not_share_a_batch() -> None:
    """Sorted by length, little is padded: the widest batch of short items is short."""
    lm = tiny_lm("bert")
    layout, widths = Layout(lm, "postfix", 3), []
    rows = layout.rows([TEXTS[2], "dog", TEXTS[2], "France"])
    lm.model.register_forward_pre_hook(
        lambda module, arguments, more: widths.append(more["inputs_embeds"].shape[1]), with_kwargs=True
    )
    reader_log_probs(make_reader(layout, rows), 4, prompt_of(lm), torch.arange(5), 2)
    assert widths[0] < widths[1]
