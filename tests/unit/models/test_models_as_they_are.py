"""Models as people have them: small peculiarities of files and classes that are no reason to refuse one."""

import pytest
import torch
from tiny_models import PADDED_ROWS, save_model, tiny_gpt2, tiny_llama, tiny_siglip
from tiny_tokenizers import byte_level_bpe, metaspace_unigram, wordpiece
from transformers import (
    MPNetConfig,
    MPNetForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaModel,
)

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.models.text_encoder import TextEncoder

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
}


def seeded(model_class, config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model_class(config)


@pytest.mark.parametrize("kind", [TextEncoder, MaskedLM])
def test_a_class_without_sdpa_is_loaded_with_plain_attention(kind, tmp_path):
    words = WordTokenizer(wordpiece())
    model = MaskedLM(
        seeded(MPNetForMaskedLM, MPNetConfig(vocab_size=words.vocab_size, **SIZES)), words, name="mpnet"
    )
    loaded = kind.load("mpnet", "path", path=save_model(model, tmp_path))
    assert loaded.model.config._attn_implementation == "eager"
    ids = torch.tensor(words.encode(["a cat on a table"]))
    embeddings = loaded.embed(ids).requires_grad_(True)
    loaded(embeddings, torch.ones_like(ids)).square().sum().backward()
    assert (embeddings.grad != 0).any(-1).all()


def test_a_class_with_sdpa_keeps_it(tmp_path):
    assert (
        CausalLM.load("lm", "path", path=save_model(tiny_llama(), tmp_path)).model.config._attn_implementation
        == "sdpa"
    )


@pytest.mark.parametrize("kind", ["encoder", "masked"])
def test_the_514_positions_of_roberta_hold_512_tokens(kind):
    """Here 64 hold 62: the first two belong to the padding."""
    words = WordTokenizer(metaspace_unigram())
    config = RobertaConfig(vocab_size=words.vocab_size, **SIZES)
    if kind == "encoder":
        model = TextEncoder(seeded(RobertaModel, config), words, name="roberta")
        with pytest.raises(UsageError, match="too long: at most 62 are allowed"):
            model(model.embed(torch.full((1, 61), 20)), torch.ones(1, 61))
        longest = model(model.embed(torch.full((1, 60), 20)), torch.ones(1, 60))
    else:
        model = MaskedLM(seeded(RobertaForMaskedLM, config), words, name="roberta")
        longest = model(model.embed(torch.full((1, 62), 20)), torch.ones(1, 62))
    assert model.max_tokens == 62
    assert longest.isfinite().all()


def test_siglip_lower_cases_whatever_its_tokenizer_says():
    encoder = tiny_siglip()
    assert encoder.tokenizer.encode(["A Cat IN Paris"]) == encoder.tokenizer.encode(["a cat in paris"])
    again = encoder.tokenizer.lower_cased()
    assert again is encoder.tokenizer
    upper, lower = encoder.encode(["A Cat IN Paris", "a cat in paris"])
    assert torch.equal(upper, lower)
    words = encoder.tokenizer.split(["A Cat IN Paris"])[0]
    assert words.words == ("A", "Cat", "IN", "Paris")


def with_token_beyond(lm: CausalLM, **special) -> CausalLM:
    """The model with a tokenizer that has one more token than the embedding table has rows."""
    tokenizer = byte_level_bpe()
    tokenizer.add_tokens([f"<filler{number}>" for number in range(PADDED_ROWS)])
    tokenizer.add_special_tokens(special or {"additional_special_tokens": ["<image>"]})
    assert len(tokenizer) == lm.model.get_input_embeddings().weight.shape[0] + 1
    return CausalLM(lm.model, WordTokenizer(tokenizer), name=lm.name)


def test_a_token_that_the_table_has_no_row_for_is_never_made():
    lm = with_token_beyond(tiny_gpt2())
    rows = lm.model.get_input_embeddings().weight.shape[0]
    assert lm.tokenizer.vocab_size == rows
    assert max(lm.tokenizer.special_ids) < rows
    (ids,) = lm.tokenizer.encode(["a <image> of a cat"])
    assert max(ids) < rows
    assert lm.tokenizer.decode([ids]) == ["a <image> of a cat"]
    assert lm.embedding_table().shape[0] == rows
    assert lm.start(torch.tensor([ids])).log_probs.shape == (1, rows)
    assert with_token_beyond(tiny_gpt2(), pad_token="<pad2>").tokenizer.vocab_size == rows


def test_a_token_around_every_text_needs_a_row():
    from tokenizers import processors

    tokenizer = byte_level_bpe()
    tokenizer.add_tokens([f"<filler{number}>" for number in range(PADDED_ROWS)])
    tokenizer.add_special_tokens({"bos_token": "<begin>"})
    begin = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<begin> $A", pair=None, special_tokens=[("<begin>", begin)]
    )
    with pytest.raises(
        UsageError, match=rf"puts token {begin} around every text but the embedding table has"
    ):
        CausalLM(tiny_gpt2().model, WordTokenizer(tokenizer), name="gpt2")


def test_a_mask_token_needs_a_row():
    tokenizer = byte_level_bpe()
    tokenizer.add_tokens([f"<filler{number}>" for number in range(PADDED_ROWS)])
    tokenizer.add_special_tokens({"mask_token": "<hole>"})
    with pytest.raises(UsageError, match="no mask token"):
        MaskedLM(tiny_gpt2().model, WordTokenizer(tokenizer), name="gpt2")


def test_weights_in_several_safetensors_files_load(tmp_path):
    lm = tiny_llama()
    lm.model.save_pretrained(tmp_path, max_shard_size="40KB")
    lm.tokenizer.tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    loaded = CausalLM.load("lm", "path", path=tmp_path)
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(loaded(loaded.embed(ids)), lm(lm.embed(ids)))
    sorted(tmp_path.glob("model-*.safetensors"))[-1].unlink()
    with pytest.raises(UsageError, match=r"lacks model-.*safetensors: weights are loaded from"):
        CausalLM.load("lm", "path", path=tmp_path)


def test_a_model_without_a_table_of_tokens_is_refused():
    bare = torch.nn.Linear(2, 2)
    with pytest.raises(
        UsageError, match=r"bytes: Linear has no table of token embeddings: take another model"
    ):
        CausalLM(bare, WordTokenizer(byte_level_bpe()), name="bytes")
