"""Models that are in memory already: plain transformers objects are taken, and stay as they are."""

import copy
from typing import Any

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_clip, tiny_gpt2
from tiny_tokenizers import byte_level_bpe, clip_bpe, wordpiece
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from fuse_repro.adapters import FuseAdapterModule
from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.clip import ClipDualEncoder
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.models.view import reading_view

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def own_model(dropout: float = 0.5) -> GPT2LMHeadModel:
    """As a user has it in the middle of training: in training mode, with dropout, with gradients."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    config = GPT2Config(vocab_size=len(byte_level_bpe()), **sizes, resid_pdrop=dropout, embd_pdrop=dropout)
    model = GPT2LMHeadModel(config).train()
    model(input_ids=IDS, labels=IDS).loss.backward()
    return model


def state_of(model: nn.Module) -> list[Any]:
    """All that a wrapper could change: modes, hooks, attributes, whether parameters learn, and their gradients."""
    modules = [
        (module.training, sorted(module.__dict__), [len(module.__dict__[kind]) for kind in HOOKS])
        for module in model.modules()
    ]
    parameters = [
        (p.requires_grad, id(p), p.data_ptr(), None if p.grad is None else p.grad.clone())
        for p in model.parameters()
    ]
    return [modules, [part[:3] for part in parameters], [part[3] for part in parameters]]


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")


def assert_same(before: list[Any], after: list[Any]) -> None:
    assert before[:2] == after[:2]
    for one, other in zip(before[2], after[2], strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_the_users_model_is_not_changed_by_anything_that_is_done_with_it() -> None:
    """It was frozen and put into eval mode in place, in silence, and got hooks."""
    model = own_model()
    before = state_of(model)
    lm = CausalLM(model, byte_level_bpe())
    lm.train()
    encoder = tiny_bert_encoder()
    adapter = FuseAdapterModule.fit(lm, encoder, ["the", "cat", "table", "image", "of"], words_per_length=50)
    embeddings = lm.embed(torch.tensor(lm.tokenizer.encode(["the cat"])[0])).requires_grad_(True)
    (adapter(embeddings, "the cat").square().sum() + lm(embeddings[None]).sum()).backward()
    lm.start(IDS).advance(torch.tensor([0]), torch.tensor([3]))
    assert embeddings.grad is not None
    assert_same(before, state_of(model))
    lm.to(torch.float64)
    assert_same(before, state_of(model))


def test_it_is_read_without_dropout_and_its_weights_are_shared() -> None:
    model = own_model()
    lm = CausalLM(model, byte_level_bpe())
    first = lm(lm.embed(IDS))
    torch.testing.assert_close(lm(lm.embed(IDS)), first, rtol=0, atol=0)
    assert not torch.equal(model(input_ids=IDS).logits, model(input_ids=IDS).logits)
    torch.testing.assert_close(copy.deepcopy(model).eval()(input_ids=IDS).logits, first)
    assert {p.data_ptr() for p in lm.model.parameters()} == {p.data_ptr() for p in model.parameters()}
    with torch.no_grad():
        model.transformer.wte.weight.add_(1.0)  # a step of an optimiser
    assert not torch.equal(lm(lm.embed(IDS)), first)
    assert lm.model.lm_head.weight is lm.model.transformer.wte.weight  # tied weights stay tied


def test_the_name_may_be_left_out() -> None:
    lm, again = CausalLM(own_model(), byte_level_bpe()), CausalLM(own_model(), byte_level_bpe())
    assert lm.name == f"GPT2LMHeadModel-{lm.fingerprint[:8]}" == again.name
    other = own_model()
    with torch.no_grad():
        other.transformer.wte.weight[3] += 1.0
    assert CausalLM(other, byte_level_bpe()).name != lm.name
    assert CausalLM(other, byte_level_bpe(), name="mine").name == "mine"


def test_every_kind_takes_the_tokenizer_of_transformers() -> None:
    bert, clip = tiny_bert_encoder(), tiny_clip()
    encoder = TextEncoder(bert.model, wordpiece())
    assert torch.equal(encoder.encode(["a cat"]), bert.encode(["a cat"]))
    pair = ClipDualEncoder(clip.model, clip_bpe(), clip.image_processor)
    assert torch.equal(pair.encode(["a cat"]), clip.encode(["a cat"]))


def test_a_slow_tokenizer_is_one_line() -> None:
    with pytest.raises(UsageError, match="is a tokenizer without fast offsets"):
        CausalLM(own_model(), object())  # type: ignore[arg-type]


def test_what_is_no_language_model_is_one_line() -> None:
    with pytest.raises(UsageError, match="model='gpt2' is not allowed: a model that is loaded"):
        CausalLM("gpt2", byte_level_bpe())
    with pytest.raises(UsageError, match="GPT2Model says nothing of the next token: load the model with"):
        CausalLM(own_model().transformer, byte_level_bpe())


def test_a_view_is_seen_once_and_keeps_the_hooks_of_the_user() -> None:
    model = own_model(dropout=0.0)
    calls: list[int] = []
    model.transformer.h[0].register_forward_hook(lambda *given: calls.append(1))
    view = reading_view(model)
    assert view is not model
    assert reading_view(view) is view
    view(input_ids=IDS)
    assert calls == [1]
    view.transformer.h[0].register_forward_hook(lambda *given: calls.append(2))
    model(input_ids=IDS)
    assert calls == [1, 1]


class Uncopyable(nn.Linear):
    def __deepcopy__(self, memo: Any) -> None:
        raise TypeError("cannot pickle a lock")


def test_a_model_that_cannot_be_copied_has_to_be_frozen_by_its_owner() -> None:
    model = nn.Sequential(Uncopyable(2, 2))
    with pytest.raises(
        UsageError, match=r"Sequential cannot be read without changing it .*a lock.* freeze it first"
    ):
        reading_view(model)
    assert model.training
    assert reading_view(model.eval().requires_grad_(False)) is model


def test_wrapping_a_wrapped_model_again_does_not_make_another() -> None:
    lm = tiny_gpt2()
    assert CausalLM(lm.model, lm.tokenizer).model is lm.model
