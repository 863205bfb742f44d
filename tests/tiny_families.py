"""Every family of models that transformers has, with random weights and as small as its config allows.

from tiny_families import families, tiny_family
"""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_masked_lms import byte_level_bpe_with_mask
from tiny_models import PADDED_ROWS
from tiny_tokenizers import clip_bpe, metaspace_bpe, wordpiece
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, model_type_to_module_name

from fuse_repro.alignment.words import WordTokenizer

MOST_PARAMETERS = 20_000_000
MAPPINGS = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING",
    "classifier": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "image-text": "MODEL_MAPPING",
    "encoder": "MODEL_MAPPING",
}
WIDTHS = {"hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embed_dim", "embedding_size", "model_dim"}
WIDTHS |= {"word_embed_proj_dim", "lru_width", "vision_embed_dim", "text_hidden_size", "projection_dim"}
WIDTHS |= {"projection_size", "encoder_hidden_size", "input_embedding_size", "rnn_hidden_size"}
INNER = {"intermediate_size", "ffn_dim", "hidden_dim", "n_inner", "d_ff", "dff", "d_inner", "ffn_hidden_size"}
INNER |= {"encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size", "shared_expert_intermediate_size"}
INNER |= {"intermediate_size_mlp", "expert_ffn_hidden_size", "shared_intermediate_size", "feed_forward_dim"}
INNER |= {"dense_intermediate_size", "mlp_hidden_size", "ffn_intermediate_size"}
LAYERS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"}
LAYERS |= {"num_encoder_layers", "num_decoder_layers", "num_blocks"}
HEADS = {"num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"}
HEADS |= {"decoder_attention_heads", "num_key_value_heads", "num_kv_heads", "num_encoder_attention_heads"}
HEADS |= {"num_decoder_attention_heads"}
SMALL: dict[str, Any] = {
    **dict.fromkeys(WIDTHS, 32),
    **dict.fromkeys(INNER, 64),
    **dict.fromkeys(LAYERS, 2),
    **dict.fromkeys(HEADS, 2),
    **dict.fromkeys(("head_dim", "d_kv", "attention_head_size", "kv_channels"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_top_k", "moe_k", "top_k_experts"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts"), 1),
    **dict.fromkeys(
        (
            "q_lora_rank",
            "kv_lora_rank",
        ),
        8,
    ),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 16),
    **dict.fromkeys(("state_size", "mamba_d_state", "ssm_state_size", "time_step_rank"), 8),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads", "mamba_n_heads"), 2),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 16),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 64),
    **dict.fromkeys(("sliding_window", "attention_window", "attention_chunk_size", "window_size"), 8),
    **dict.fromkeys(("index_n_heads",), 2),
    **dict.fromkeys(("index_head_dim",), 16),
    **dict.fromkeys(("index_topk",), 8),
    "entity_vocab_size": 50,
    "full_attention_interval": 2,
    "image_size": 32,
    "patch_size": 16,
    "initializer_range": 0.1,
    "attention_type": "original_full",  # BigBird: sparse attention needs long texts
    "num_labels": 3,
    "mamba_expand": 2,
    "mamba_d_head": 32,
    "vocab_size_per_layer_input": 700,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 0,
    "bottleneck_size": 32,
    "moe_layer_start_index": 1,
}
FIXES: Mapping[str, Mapping[str, Any]] = {  # what a family needs beside the names above
    "albert": {"embedding_size": 16},
    "electra": {"embedding_size": 16},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 24},
    "gptj": {"rotary_dim": 8},
    "codegen": {"n_head": 4, "n_embd": 64, "rotary_dim": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "opt": {"word_embed_proj_dim": 16},
    "funnel": {"block_sizes": [1, 1], "d_head": 16, "n_head": 2},
    "mobilebert": {"intra_bottleneck_size": 16, "true_hidden_size": 16, "embedding_size": 16},
    "convbert": {"num_attention_heads": 4, "head_ratio": 2},
    "squeezebert": {"embedding_size": 32},
    "longformer": {"attention_window": [8, 8]},
    "layoutlm": {"max_2d_position_embeddings": 32},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8},
    "jamba": {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
    "mpt": {"max_seq_len": 64},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "modernbert-decoder": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "xlnet": {"d_head": 16},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "roc_bert": {"shape_vocab_size": 50, "pronunciation_vocab_size": 50},
    "align": {
        "projection_dim": 16,
        "vision_config": {
            "hidden_dim": 16,
            "width_coefficient": 1.0,
            "depth_coefficient": 1.0,
            "in_channels": [32, 16],
            "out_channels": [16, 16],
            "kernel_sizes": [3, 3],
            "strides": [1, 2],
            "num_block_repeats": [1, 1],
            "expand_ratios": [1, 6],
        },
    },
}


class NotShrunk(Exception):
    """A family whose config could not be made small, with the reason."""


def families(kind: str) -> list[str]:
    """The families of one kind of `MAPPINGS`, sorted; nothing is imported for it."""
    names = getattr(modeling_auto, f"{MAPPINGS[kind]}_NAMES")
    if kind == "encoder":
        return sorted(set(names) & _encoder_families())
    if kind == "image-text":
        return sorted(family for family, model_class in names.items() if _reads_both(family, model_class))
    return sorted(names)


def classes(kind: str, family: str) -> tuple[type, type]:
    """The config class and the model class of a family.

    Raises:
        NotShrunk: they cannot be imported.
    """
    try:
        config_class = CONFIG_MAPPING[family]
        model_class = getattr(modeling_auto, MAPPINGS[kind])[config_class]
    except Exception as err:
        raise NotShrunk(f"it cannot be imported ({type(err).__name__})") from err
    return config_class, model_class[0] if isinstance(model_class, tuple | list) else model_class


def tokenizer_for(kind: str, family: str) -> Any:
    """A tokenizer of the kind that such models come with."""
    if kind == "causal":
        return byte_level_bpe_with_mask()
    if kind == "image-text" and "siglip" in family:
        return metaspace_bpe()
    if kind == "image-text" and family not in ("align", "altclip", "chinese_clip", "flava", "blip"):
        return clip_bpe()
    return wordpiece()


def shrunk(kind: str, family: str, config_class: type, tokenizer: Any) -> Any:
    """A small config of a family for a tokenizer; an encoder among causal models is one that is told to be causal."""
    try:
        whole = config_class().to_dict()
    except Exception as err:
        raise NotShrunk(f"no config without arguments ({type(err).__name__})") from err
    ids = {
        "vocab_size": WordTokenizer(tokenizer).vocab_size + PADDED_ROWS,
        "bos_token_id": _id(tokenizer.bos_token_id, tokenizer.cls_token_id),
        "eos_token_id": _id(tokenizer.eos_token_id, tokenizer.sep_token_id),
        "pad_token_id": _id(tokenizer.pad_token_id),
    }
    small = _small(whole, ids)
    for name, value in FIXES.get(family, {}).items():
        small[name] = {**small[name], **value} if isinstance(value, dict) else value
    if kind == "causal" and "is_decoder" in whole:
        small["is_decoder"] = True
    try:
        return config_class(**small)
    except Exception as err:
        raise NotShrunk(f"its config takes no small values ({type(err).__name__}: {_short(err)})") from err


def tiny_family(kind: str, family: str, seed: int = 0) -> tuple[torch.nn.Module, Any]:
    """A model of a family with random weights, and a tokenizer.

    Raises:
        NotShrunk: it cannot be made, or not small.
    """
    config_class, model_class = classes(kind, family)
    tokenizer = tokenizer_for(kind, family)
    config = shrunk(kind, family, config_class, tokenizer)
    if model_class.config_class is getattr(config, "sub_configs", {}).get("text_config"):
        config = config.get_text_config()  # as transformers' auto classes do
    try:
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in model_class(config).parameters())
    except Exception as err:
        raise NotShrunk(f"no model from a small config ({type(err).__name__}: {_short(err)})") from err
    if size > MOST_PARAMETERS:
        raise NotShrunk(f"{size:,} parameters in its smallest form")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
    if kind != "image-text" and not getattr(config, "is_encoder_decoder", False):
        _run(model)
    return model, tokenizer


def _run(model: torch.nn.Module) -> None:
    """Raises NotShrunk for a model that does not run by itself: what comes after would be no fault of ours."""
    try:
        with torch.no_grad():
            model.eval()(input_ids=torch.tensor([[5, 6, 7]]))
    except Exception as err:
        raise NotShrunk(
            f"its small form does not run from token ids alone ({type(err).__name__}: {_short(err)})"
        ) from err


@contextmanager
def within_seconds(seconds: int) -> Iterator[None]:
    """A TimeoutError where something takes more processor time than that."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"over {seconds} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _small(values: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """The values of a config that are to change."""
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name.endswith("config"):
            if name != "quantization_config":
                changed[name] = {**_small(value, ids)}
                if "model_type" in value:
                    changed[name]["model_type"] = value["model_type"]
        elif name in ids:
            changed[name] = ids[name]
        elif name.endswith(("_token_id", "_token_index")) and isinstance(value, int):
            changed[name] = ids["vocab_size"] - 1
        elif name in SMALL and (value is not None or name == "num_key_value_heads"):
            changed[name] = SMALL[name]
    return changed


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _id(*candidates: int | None) -> int:
    return next((candidate for candidate in candidates if candidate is not None), 0)


def _reads_both(family: str, model_class: str | tuple[str, ...]) -> bool:
    """Whether the source of a family's class has the methods of a CLIP-like model."""
    if not isinstance(model_class, str):
        return False
    module = model_type_to_module_name(family)
    source = Path(transformers.__file__).parent / "models" / module / f"modeling_{module}.py"
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    begin = text.find(f"\nclass {model_class}(")
    own = text[begin : text.find("\nclass ", begin + 1)] if begin >= 0 else ""
    return "def get_text_features" in own and "def get_image_features" in own


def _encoder_families() -> set[str]:
    names = set(modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES)
    return names | set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)


VERSION = transformers.__version__
