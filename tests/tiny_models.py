"""Tiny random models, with real tokenizers, that behave like the big ones in every respect but size."""

from pathlib import Path

import torch
from tiny_tokenizers import byte_level_bpe, clip_bpe, metaspace_bpe, wordpiece

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.clip import ClipDualEncoder
from fuse_repro.models.conse import ConseDualEncoder
from fuse_repro.models.efficientnet_lite import EfficientNetLite
from fuse_repro.models.siglip import SiglipDualEncoder
from fuse_repro.models.text_encoder import TextEncoder

PADDED_ROWS = 7  # rows of the embedding tables that no token id reaches, as in many published models


def tiny_gpt2(seed: int = 0) -> CausalLM:
    """GPT-2: absolute positions, tied weights, no token in front; d = 32."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = WordTokenizer(byte_level_bpe())
    config = GPT2Config(
        vocab_size=tokenizer.vocab_size + PADDED_ROWS,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    return CausalLM(_seeded(GPT2LMHeadModel, config, seed), tokenizer, name="tiny_gpt2")


def tiny_llama(seed: int = 0) -> CausalLM:
    """Llama: rotary positions, grouped heads, untied weights; d = 48."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = WordTokenizer(byte_level_bpe())
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size + PADDED_ROWS,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    return CausalLM(_seeded(LlamaForCausalLM, config, seed), tokenizer, name="tiny_llama")


def tiny_gemma3(seed: int = 0) -> CausalLM:
    """Gemma 3: scaled and tied embeddings, a sliding window of 4 in the first layer, a token in front; d = 16."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = WordTokenizer(metaspace_bpe())
    config = Gemma3TextConfig(
        vocab_size=tokenizer.vocab_size + PADDED_ROWS,
        hidden_size=16,
        intermediate_size=32,
        head_dim=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=8,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
    )
    return CausalLM(_seeded(Gemma3ForCausalLM, config, seed), tokenizer, name="tiny_gemma3")


def tiny_opt(seed: int = 0) -> CausalLM:
    """OPT: embeddings narrower (d = 16) than the layers (32), learned positions with an offset."""
    from transformers import OPTConfig, OPTForCausalLM

    tokenizer = WordTokenizer(byte_level_bpe())
    config = OPTConfig(
        vocab_size=tokenizer.vocab_size + PADDED_ROWS,
        hidden_size=32,
        word_embed_proj_dim=16,
        activation_function="gelu",
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    return CausalLM(_seeded(OPTForCausalLM, config, seed), tokenizer, name="tiny_opt")


def tiny_bert_encoder(seed: int = 0, pooling: str = "mean") -> TextEncoder:
    """BERT with WordPiece; d = e = 32."""
    from transformers import BertConfig, BertModel

    tokenizer = WordTokenizer(wordpiece())
    config = BertConfig(
        vocab_size=tokenizer.vocab_size + PADDED_ROWS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    return TextEncoder(_seeded(BertModel, config, seed), tokenizer, name="tiny_bert", pooling=pooling)


def tiny_clip(seed: int = 0) -> ClipDualEncoder:
    """CLIP: text d = 32, images of 16 x 16 pixels, e = 24, at most 40 tokens."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    tokenizer = WordTokenizer(clip_bpe())
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    text = {
        "vocab_size": tokenizer.vocab_size + PADDED_ROWS,
        "hidden_size": 32,
        "max_position_embeddings": 40,
        "bos_token_id": tokenizer.prefix_ids[0],
        "eos_token_id": tokenizer.suffix_ids[0],
        **layers,
    }
    vision = {"hidden_size": 32, "image_size": 16, "patch_size": 8, **layers}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return ClipDualEncoder(_seeded(CLIPModel, config, seed), tokenizer, processor, name="tiny_clip")


def tiny_siglip(seed: int = 0) -> SiglipDualEncoder:
    """SigLIP: text d = e = 32, images of 16 x 16 pixels, at most 40 tokens."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    tokenizer = WordTokenizer(metaspace_bpe())
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "hidden_size": 32}
    text = {
        "vocab_size": tokenizer.vocab_size + PADDED_ROWS,
        "max_position_embeddings": 40,
        "projection_size": 32,
        **layers,
    }
    config = SiglipConfig(text_config=text, vision_config={"image_size": 16, "patch_size": 8, **layers})
    processor = SiglipImageProcessorPil(size={"height": 16, "width": 16})
    return SiglipDualEncoder(_seeded(SiglipModel, config, seed), tokenizer, processor, name="tiny_siglip")


def tiny_conse(seed: int = 0) -> ConseDualEncoder:
    """A narrow EfficientNet-Lite over 12 labels, joined to the tiny BERT."""
    labels = (
        "cat",
        "dog",
        "horse",
        "coffee",
        "rocket",
        "boat",
        "train",
        "tree",
        "house",
        "ball",
        "bird",
        "cake",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = EfficientNetLite(width=0.25, depth=0.5, image_size=32, classes=len(labels))
    return ConseDualEncoder(tiny_bert_encoder(seed), classifier, labels, name="tiny_conse", top=3)


def save_model(model: FrozenModel, folder: Path) -> Path:
    """Write a tiny model as a transformers folder, as source=path takes it."""
    model.model.save_pretrained(folder)
    model.tokenizer.tokenizer.save_pretrained(folder)
    if hasattr(model, "image_processor"):
        model.image_processor.save_pretrained(folder)
    return folder


def _seeded(model_class: type, config: object, seed: int) -> torch.nn.Module:
    """A model with random weights that depend on the seed only; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(config)
