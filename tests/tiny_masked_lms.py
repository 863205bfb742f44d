"""Tiny language models of every architecture with random weights: `from tiny_masked_lms import tiny_lm`."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from tiny_tokenizers import byte_level_bpe, metaspace_bpe, metaspace_unigram, wordpiece
from transformers import PreTrainedTokenizerFast

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.masked_lm import MaskedLM

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 80,
}


def byte_level_bpe_with_mask() -> PreTrainedTokenizerFast:
    """RoBERTa like: byte-level BPE, `<s> ... </s>`, and a mask token that takes the space before it."""
    from tokenizers import AddedToken, processors

    tokenizer = byte_level_bpe()
    tokenizer.add_special_tokens(
        {
            "cls_token": "<s>",
            "sep_token": "</s>",
            "mask_token": AddedToken("<mask>", lstrip=True, special=True),
        }
    )
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=None, special_tokens=ids
    )
    return tokenizer


MASKED: dict[str, tuple[str, Callable[[], PreTrainedTokenizerFast], dict[str, Any]]] = {
    "bert": ("Bert", wordpiece, SIZES),
    "roberta": ("Roberta", byte_level_bpe_with_mask, {**SIZES, "pad_token_id": 1}),
    "albert": ("Albert", metaspace_unigram, {**SIZES, "embedding_size": 20}),
    "distilbert": (
        "DistilBert",
        wordpiece,
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 80},
    ),
}
CAUSAL: dict[str, tuple[str, Callable[[], PreTrainedTokenizerFast], dict[str, Any]]] = {
    "gpt2": ("GPT2", byte_level_bpe, {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 80}),
    "llama": ("Llama", byte_level_bpe, {**SIZES, "num_key_value_heads": 1}),
    "gemma3": (
        "Gemma3",
        metaspace_bpe,
        {**SIZES, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8},
    ),
}
ARCHITECTURES = (*MASKED, *CAUSAL)
CONFIGS = {"Gemma3": "Gemma3TextConfig"}


def tiny_lm(architecture: str, seed: int = 0) -> MaskedLM | CausalLM:
    """A model of `ARCHITECTURES` with weights drawn from the seed; d is 32, ALBERT's 20 (hidden size 32)."""
    masked = architecture in MASKED
    family, make_tokenizer, sizes = (MASKED if masked else CAUSAL)[architecture]
    tokenizer = make_tokenizer()
    words = WordTokenizer(tokenizer)
    extra = {"bos_token_id": None, "eos_token_id": None} | {"pad_token_id": tokenizer.pad_token_id} | sizes
    config = getattr(transformers, CONFIGS.get(family, f"{family}Config"))(
        vocab_size=words.vocab_size, **extra
    )
    torch.manual_seed(seed)
    head = "ForMaskedLM" if masked else "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    model = getattr(transformers, f"{family}{head}")._from_config(config, attn_implementation="sdpa")
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "norm" not in name.lower():
            torch.nn.init.normal_(parameter, std=0.3)
    kind = MaskedLM if masked else CausalLM
    return kind(model, words, name=f"tiny-{architecture}")
