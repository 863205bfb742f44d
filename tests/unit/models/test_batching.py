"""Batches halve where memory runs out, on any device, and grow again; what comes out does not depend on their size."""

from collections.abc import Callable

import pytest
import torch
from PIL import Image
from tiny_masked_lms import tiny_lm
from tiny_models import tiny_bert_encoder, tiny_clip, tiny_gpt2

from fuse_repro.errors import UsageError
from fuse_repro.models import clip
from fuse_repro.models.batching import AGAIN, GROWTH, PATIENCE, AutoBatch, most_rows, out_of_memory
from fuse_repro.objectives import shared_prefix
from fuse_repro.objectives.shared_prefix import shared_prefix_nll

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB, other allocations: 2 MB, max allowed: 3 GB)."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to"),
    MemoryError(),
]  # fmt: skip


def bounded(rows: int, error: BaseException, seen: list[int]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Doubles its rows; more of them than `rows` do not fit."""

    def function(part: torch.Tensor) -> torch.Tensor:
        seen.append(len(part))
        if len(part) > rows:
            raise error
        return 2 * part

    return function


@pytest.mark.parametrize("error", FULL, ids=lambda error: str(error)[:24] or "MemoryError")
def test_memory_that_runs_out_halves_the_batch(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    batches, seen, rows = AutoBatch("big", 16), [], torch.arange(40.0)
    assert out_of_memory(error)
    for _ in range(3):
        assert batches(bounded(5, error, seen), rows).tolist() == (2 * rows).tolist()
    assert seen[:4] == [16, 8, 4, 4]
    assert (batches.size, max(seen[2:])) == (4, 4)
    assert capsys.readouterr().err == "fuse-repro: big: memory holds a batch of 4 texts (8 were too many)\n"


def test_an_allocation_that_fails_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("out of memory"),
        UsageError("no"),
    ],
)
def test_other_errors_pass_unchanged(error: Exception) -> None:
    batches, seen = AutoBatch("big", 16), []
    with pytest.raises(type(error)) as caught:
        batches(bounded(5, error, seen), torch.arange(40.0))
    assert caught.value is error
    assert (seen, batches.size) == ([16], 16)


def test_a_batch_grows_again_and_does_not_thrash() -> None:
    batches, error, seen = AutoBatch("big", 8), torch.OutOfMemoryError(), []
    row = torch.zeros(800)
    batches(bounded(3, error, seen), row[:40])
    assert batches.size == 2
    seen.clear()
    for _ in range(100):
        batches(bounded(3, error, seen), row)
    failures = [rows for rows in seen if rows > 3]
    assert 1 <= len(failures) <= 8  # in 40,000 batches: each failure doubles the wait
    assert set(failures) == {4}
    calls = 0
    while batches.size < 8 and calls < 1000:  # memory is free again
        batches(bounded(1000, error, seen), row)
        calls += 1
    for _ in range(50):
        batches(bounded(1000, error, seen), row)
    assert batches.size == 8  # never more than at first, unless told so


def test_a_size_that_has_not_failed_is_tried_soon() -> None:
    batches, seen = AutoBatch("big", 4, most=32), []
    function = bounded(20, torch.OutOfMemoryError(), seen)
    batches(function, torch.zeros(4 * PATIENCE + 8 * PATIENCE))
    assert (max(seen), batches.size) == (8, 16)
    batches(function, torch.zeros(16 * PATIENCE + 32))
    assert max(seen) == 32
    assert batches.size == 16
    seen.clear()
    batches(function, torch.zeros(16 * PATIENCE * AGAIN))
    assert max(seen) == 16


def test_a_batch_that_is_not_full_says_nothing_about_memory() -> None:
    batches, seen = AutoBatch("big", 4, most=64), []
    for _ in range(10 * PATIENCE):
        batches(bounded(100, torch.OutOfMemoryError(), seen), torch.zeros(3))
    assert batches.size == 4


def test_gradients_are_taken_within_a_part() -> None:
    """Backward runs out of memory, too: a part is done anew as a whole."""
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    seen: list[int] = []

    def gradient(part: slice) -> torch.Tensor:
        leaf = weights[part].clone().requires_grad_()
        value = (leaf**2).sum()
        seen.append(len(leaf))
        if len(leaf) > 2:
            raise torch.OutOfMemoryError
        return torch.autograd.grad(value, leaf)[0]

    found = list(AutoBatch("big", 4).each(5, gradient))
    assert [part for part, _ in found] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert torch.equal(torch.cat([values for _, values in found]), 2 * weights)
    assert seen == [4, 2, 2, 1]


def test_an_error_outside_the_function_is_not_taken_for_its_own() -> None:
    batches = AutoBatch("big", 4)

    def fail(part: slice) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        list(map(fail, (part for part, _ in batches.each(8, lambda part: part))))
    assert batches.size == 4


def test_one_row_that_does_not_fit_is_one_line() -> None:
    function = bounded(0, MemoryError(), [])
    found = AutoBatch("big", 3, "photograph").each(3, lambda part: function(torch.zeros(3)[part]))
    with pytest.raises(UsageError, match="big: one photograph does not fit in memory; free some"):
        next(found)
    with pytest.raises(UsageError, match="big: batch size=0 is not allowed: at least 1"):
        AutoBatch("big", 0)


def test_only_a_device_that_says_when_it_is_full_gets_larger_batches() -> None:
    assert most_rows(torch.device("cpu"), 64) == 64
    assert most_rows(torch.device("cuda"), 64) == most_rows(torch.device("mps"), 64) == GROWTH * 64


def test_a_model_keeps_what_it_found_out() -> None:
    lm = tiny_gpt2()
    assert lm.batches("text", 8) is lm.batches("text", 8)
    assert lm.batches("text", 8) is not lm.batches("photograph", 8)


def test_embeddings_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a cat", "a dog", "the lake", "a train on a bridge", "red wine and cheese", "kite"]
    encoder = tiny_bert_encoder()
    for size in (1, 2):
        torch.testing.assert_close(encoder.encode(texts, size), encoder.encode(texts), rtol=0, atol=1e-6)
    dual = tiny_clip()
    images = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    whole = dual.encode_images(images)
    monkeypatch.setattr(clip, "IMAGES_PER_BATCH", 2)
    torch.testing.assert_close(dual.encode_images(images), whole, rtol=0, atol=1e-6)
    assert dual.encode_images([]).shape == (0, dual.output_size)


def test_likelihoods_of_shared_beginnings_are_right_after_memory_ran_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = tiny_lm("gpt2")
    ids = lm.tokenizer.encode(
        ["a cat on the table", "a cat on the lake", "a dog in the rain", "the old bridge"]
    )
    expected, _ = shared_prefix_nll(lm, ids)
    step = type(lm)._step

    def small(self: object, whole: torch.Tensor, tokens: torch.Tensor, memory: object) -> object:
        if len(tokens) > 1:
            raise torch.OutOfMemoryError
        return step(self, whole, tokens, memory)  # type: ignore[arg-type]

    monkeypatch.setattr(type(lm), "_step", small)
    monkeypatch.setattr(shared_prefix, "ROWS", 4)
    torch.testing.assert_close(shared_prefix_nll(lm, ids)[0], expected)
