"""Tiny language models whose tokenizers know whole words, so that two of them share hundreds of anchors."""

from collections.abc import Sequence
from pathlib import Path

import wordfreq
from tiny_models import save_model, tiny_bert_encoder, tiny_clip
from tiny_tokenizers import BYTES
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.clip import ClipDualEncoder

ENDINGS = ("ing", "ed", "er", "ly", "ion", "es", "al")


def frequent_words(count: int) -> list[str]:
    """The most frequent words of English, of letters only."""
    listed = wordfreq.top_n_list("en", 2 * count)
    return [word for word in listed if word.isascii() and word.isalpha()][:count]


def word_bpe(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """GPT-2 like: each of these words, with the space before it, is one token; so is every beginning of one.

    Some endings are tokens, too, as a search looks for tokens that go on with a word.
    """
    starts = [("Ġ" + word[:end], word[end]) for word in words for end in range(len(word))]
    ends = [(ending[:end], ending[end]) for ending in ENDINGS for end in range(1, len(ending))]
    merges = list(dict.fromkeys([*starts, *ends]))
    tokens = dict.fromkeys(["<|endoftext|>", *BYTES, *("".join(pair) for pair in merges)])
    backend = Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    backend.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end, pad_token=end)


def word_gpt2() -> CausalLM:
    """GPT-2 of 600 words; d = 32."""
    tokenizer = word_bpe(frequent_words(600))
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    config = GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **sizes)
    return CausalLM(GPT2LMHeadModel(config), tokenizer)


def word_llama() -> CausalLM:
    """Llama of 500 words; d = 48."""
    tokenizer = word_bpe(frequent_words(500))
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return CausalLM(
        LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **sizes)),
        tokenizer,
    )


def long_clip() -> ClipDualEncoder:
    """The tiny CLIP with room for texts of 300 tokens, since it has few words of more than one letter."""
    short = tiny_clip()
    config = short.model.config
    config.text_config.max_position_embeddings = 300
    return ClipDualEncoder(CLIPModel(config), short.tokenizer, short.image_processor)


def save_four(folder: Path, source: str, target: str, encoder: str, vision: str) -> None:
    """Write two language models, a sentence encoder and a CLIP below these names, as transformers folders."""
    made = {source: word_gpt2(), target: word_llama(), encoder: tiny_bert_encoder(), vision: long_clip()}
    for name, model in made.items():
        save_model(model, folder / name)
