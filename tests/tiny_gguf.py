"""A tiny Qwen2 model as a GGUF file, with the tokenizer inside it: `from tiny_gguf import write_gguf`."""

from pathlib import Path

import gguf
import torch
from torch import Tensor

LAYERS, WIDTH, HEADS, INNER = 2, 32, 2, 64
TOKENS = [
    *(chr(number) for number in range(33, 127)),
    "Ġ",
    "Ċ",
    "Ġa",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
]
PIECES = {  # of a layer: name in GGUF -> name in transformers, shape
    "attn_norm.weight": ("input_layernorm.weight", (WIDTH,)),
    "ffn_norm.weight": ("post_attention_layernorm.weight", (WIDTH,)),
    "attn_q.weight": ("self_attn.q_proj.weight", (WIDTH, WIDTH)),
    "attn_q.bias": ("self_attn.q_proj.bias", (WIDTH,)),
    "attn_k.weight": ("self_attn.k_proj.weight", (WIDTH, WIDTH)),
    "attn_k.bias": ("self_attn.k_proj.bias", (WIDTH,)),
    "attn_v.weight": ("self_attn.v_proj.weight", (WIDTH, WIDTH)),
    "attn_v.bias": ("self_attn.v_proj.bias", (WIDTH,)),
    "attn_output.weight": ("self_attn.o_proj.weight", (WIDTH, WIDTH)),
    "ffn_gate.weight": ("mlp.gate_proj.weight", (INNER, WIDTH)),
    "ffn_up.weight": ("mlp.up_proj.weight", (INNER, WIDTH)),
    "ffn_down.weight": ("mlp.down_proj.weight", (WIDTH, INNER)),
}


def write_gguf(path: Path) -> dict[str, Tensor]:
    """Write the file with 8-bit weights.

    Returns:
        Name in transformers -> float32 values as the file has them, after its rounding.
    """
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(TOKENS) - 3) + [gguf.TokenType.CONTROL] * 3)
    writer.add_token_merges(["Ġ a"])
    writer.add_eos_token_id(len(TOKENS) - 1)
    writer.add_pad_token_id(len(TOKENS) - 3)
    draw = torch.Generator().manual_seed(0)
    made = {}
    for own, (name, shape) in _names().items():
        values = torch.randn(shape, generator=draw).numpy()
        if len(shape) == 1:
            writer.add_tensor(own, values)
        else:
            packed = gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(own, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            values = gguf.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
        made[name] = torch.from_numpy(values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return made


def _names() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name in GGUF -> name in transformers, shape."""
    table = (len(TOKENS), WIDTH)
    names = {
        "token_embd.weight": ("model.embed_tokens.weight", table),
        "output_norm.weight": ("model.norm.weight", (WIDTH,)),
        "output.weight": ("lm_head.weight", table),
    }
    for layer in range(LAYERS):
        for own, (name, shape) in PIECES.items():
            names[f"blk.{layer}.{own}"] = (f"model.layers.{layer}.{name}", shape)
    return names
