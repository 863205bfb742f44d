"""Counted operations against torch's own count of every matrix product: within 10% on tiny models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_classifiers import tiny_bert_classifier, tiny_head, tiny_roberta_classifier
from tiny_masked_lms import tiny_lm
from tiny_models import (
    tiny_bert_encoder,
    tiny_clip,
    tiny_gemma3,
    tiny_gpt2,
    tiny_llama,
    tiny_opt,
    tiny_siglip,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.models.metering import Arithmetic, Meter, metering, unmetered
from fuse_repro.models.text_encoder import TextEncoder

TOLERANCE = 0.1
LMS = [tiny_gpt2, tiny_llama, tiny_gemma3, tiny_opt]
MASKED = ["bert", "roberta", "albert", "distilbert"]
ENCODERS: list[Callable[[], Any]] = [
    tiny_bert_encoder,
    tiny_clip,
    tiny_siglip,
    tiny_roberta_classifier,
    tiny_bert_classifier,
    tiny_head,
]
TEXTS = ["An image of a cat", "a small dog in the house", "boats", "An image of two trains and a tree"]


def compared(work: Callable[[], Any]) -> Meter:
    """What was metered, once it is known to agree with torch."""
    plain = sdpa_kernel(SDPBackend.MATH)  # torch does not count what its attention for CPUs does
    with plain, FlopCounterMode(display=False) as counter, metering() as meter:
        work()
    assert meter.flops == pytest.approx(counter.get_total_flops(), rel=TOLERANCE)
    return meter


def whole(lm: FrozenModel) -> torch.Tensor:
    ids = torch.arange(5, 5 + 24).reshape(2, 12) % lm.tokenizer.vocab_size
    return lm.embed(ids).detach()


@pytest.mark.parametrize("make", LMS)
def test_a_causal_model_reads_and_goes_back(make: Callable[[], CausalLM]) -> None:
    lm = make()
    meter = compared(lambda: lm(whole(lm)))
    assert meter.tokens == {lm.name: 24}

    def back() -> None:
        embeddings = whole(lm).requires_grad_(True)
        lm(embeddings).sum().backward()

    assert compared(back).flops > 1.9 * meter.flops


@pytest.mark.parametrize("make", LMS)
def test_a_causal_model_goes_on_from_its_memory(make: Callable[[], CausalLM]) -> None:
    lm = make()
    state = lm.start(torch.tensor([[5, 6, 7, 8, 9, 10]]))
    rows = torch.zeros(4, dtype=torch.long)
    meter = compared(lambda: state.advance(rows, torch.tensor([5, 6, 7, 8])))
    assert meter.tokens == {lm.name: 4}
    assert compared(lambda: lm.start(torch.tensor([[5, 6, 7, 8, 9, 10]]))).tokens == {lm.name: 6}


@pytest.mark.parametrize("architecture", MASKED)
def test_a_masked_model_with_shared_layers_or_not(architecture: str) -> None:
    lm = tiny_lm(architecture)
    assert isinstance(lm, MaskedLM)
    compared(lambda: lm(whole(lm)))


@pytest.mark.parametrize("make", ENCODERS)
def test_an_encoder_reads_texts_and_goes_back(make: Callable[[], TextEncoder]) -> None:
    encoder = make()
    around = len(encoder.tokenizer.prefix_ids) + len(encoder.tokenizer.suffix_ids)
    meter = compared(lambda: encoder.encode(TEXTS))
    if make is not tiny_siglip:  # which fills every text up
        read = sum(len(ids) + around for ids in encoder.tokenizer.encode(TEXTS))
        assert meter.tokens == {encoder.name: read}

    def back() -> None:
        (ids,) = encoder.tokenizer.encode(TEXTS[-1:])
        embeddings = encoder.embed(torch.tensor([ids])).detach().requires_grad_(True)
        encoder(embeddings, torch.ones(1, len(ids), dtype=torch.bool)).sum().backward()

    compared(back)


def test_meters_are_nested_and_paused() -> None:
    lm = tiny_gpt2()
    with metering() as outer:
        lm(whole(lm))
        with metering() as inner:
            lm(whole(lm))
            with unmetered():
                lm(whole(lm))
        with pytest.raises(RuntimeError), metering():
            raise RuntimeError
    lm(whole(lm))
    assert (outer.tokens, inner.tokens) == ({"tiny_gpt2": 48}, {"tiny_gpt2": 24})
    assert outer.flops == 2 * inner.flops
    assert outer.cost() == {"flops": outer.flops, "tokens": {"tiny_gpt2": 48}}


def test_a_transformer_in_two_models_is_counted_once() -> None:
    encoder = tiny_head().word_encoder
    with metering() as meter:
        encoder.encode(["boats"])
    assert len(meter.tokens) == 1


def test_one_layer_by_hand() -> None:
    """Two tokens of 3 numbers, one matrix 3 x 4, a head 4 x 5 at one of them; every token looks at both."""
    sizes = Arithmetic(per_token=12, per_pair=2 * 4, per_output=20)
    assert sizes.operations(2, 4, 1) == 2 * (24 + 32 + 20)
    assert sizes.operations(2, 4, 1, back=True) == 2 * (24 + 32 + 20) + 2 * (24 + 64 + 20)
