"""What holds for every frozen model."""

import pytest
import torch
from tiny_models import (
    tiny_bert_encoder,
    tiny_clip,
    tiny_conse,
    tiny_gemma3,
    tiny_gpt2,
    tiny_llama,
    tiny_opt,
    tiny_siglip,
)
from tiny_tokenizers import byte_level_bpe

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM

BUILDERS = [
    tiny_gpt2,
    tiny_llama,
    tiny_gemma3,
    tiny_opt,
    tiny_bert_encoder,
    tiny_clip,
    tiny_siglip,
    tiny_conse,
]


@pytest.fixture(params=BUILDERS, ids=lambda builder: builder.__name__)
def build(request):
    return request.param


def test_is_frozen_and_stays_in_eval_mode(build):
    model = build()
    model.train()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_embedding_table_holds_what_embed_gives_and_no_unreachable_rows(build):
    model = build()
    table = model.embedding_table()
    assert table.shape == (model.tokenizer.vocab_size, model.embedding_size)
    assert table.dtype == model.dtype
    assert table.device == model.device
    ids = torch.tensor([[3, 1], [0, model.tokenizer.vocab_size - 1]])
    assert torch.equal(model.embed(ids), table[ids])


def test_embedding_table_is_the_gradient_of_the_embeddings(build):
    """Swapping a token is a one-hot step: embed(ids) = onehot @ table."""
    model = build()
    ids = torch.tensor([[4, 2, 7]])
    onehot = torch.nn.functional.one_hot(ids, model.tokenizer.vocab_size).to(model.dtype)
    torch.testing.assert_close(onehot @ model.embedding_table(), model.embed(ids))


def test_fingerprint_depends_on_weights_and_tokenizer_only(build):
    assert build(0).fingerprint == build(0).fingerprint
    assert build(0).fingerprint != build(1).fingerprint


def test_fingerprint_depends_on_the_tokenizer():
    lm = tiny_gpt2()
    other = WordTokenizer(byte_level_bpe(merges=149))
    assert other.vocab_size == lm.tokenizer.vocab_size - 1
    shorter = CausalLM(lm.model, other, name="shorter")
    assert shorter.fingerprint != lm.fingerprint


def test_tokenizer_of_another_model_is_refused():
    too_large = WordTokenizer(byte_level_bpe(merges=250))
    with pytest.raises(UsageError, match=r"tokenizer has .* tokens but the embedding table has"):
        CausalLM(tiny_gpt2().model, too_large, name="gpt2")


def test_gemma_embeddings_are_scaled():
    model = tiny_gemma3()
    weight = model.model.get_input_embeddings().weight[: model.tokenizer.vocab_size]
    torch.testing.assert_close(model.embedding_table(), weight * 16**0.5)


def test_opt_embeddings_are_narrower_than_its_layers():
    assert tiny_opt().embedding_size == 16
