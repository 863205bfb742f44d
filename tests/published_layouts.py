"""Tiny checkpoints with the files and key names of the published ones: `from published_layouts import write`.

The names are those of the safetensors that the papers' repositories have: older than what transformers writes today.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tiny_masked_lms import byte_level_bpe_with_mask
from tiny_tokenizers import BYTES, _byte_level_merges, byte_level_bpe, clip_bpe, metaspace_unigram, wordpiece
from torch import Tensor, nn

DECOYS = (
    "pytorch_model.bin",
    "tf_model.h5",
    "flax_model.msgpack",
    "onnx/model.onnx",
    "README.md",
    ".gitattributes",
)
Extra = Callable[[nn.Module], dict[str, Tensor]]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 80,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 80, "n_ctx": 80}


def roberta_bpe() -> transformers.RobertaTokenizer:
    """RoBERTa's own tokenizer: `<s>`, `<pad>`, `</s>`, `<unk>` first, `<mask>` last."""
    merges = list(_byte_level_merges(150))
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *BYTES, *("".join(pair) for pair in merges), "<mask>"]
    return transformers.RobertaTokenizer(
        vocab={token: place for place, token in enumerate(tokens)}, merges=merges
    )


def nothing(model: nn.Module) -> dict[str, Tensor]:
    return {}


def causal_masks(model: nn.Module) -> dict[str, Tensor]:
    """GPT-2 once kept the mask of every layer with its weights."""
    mask = torch.tril(torch.ones(80, 80)).view(1, 1, 80, 80)
    return {f"h.{layer}.attn.bias": mask.clone() for layer in range(2)}


def pretraining_of_bert(model: nn.Module) -> dict[str, Tensor]:
    """The pooler and the second head, whether a sentence follows; the tied table stands there a second time."""
    return {
        "bert.pooler.dense.weight": torch.randn(32, 32),
        "bert.pooler.dense.bias": torch.randn(32),
        "cls.seq_relationship.weight": torch.randn(2, 32),
        "cls.seq_relationship.bias": torch.randn(2),
        "cls.predictions.decoder.weight": model.get_input_embeddings().weight.detach().clone(),  # type: ignore[operator]
    }


def pooler_of_roberta(model: nn.Module) -> dict[str, Tensor]:
    return {
        "roberta.pooler.dense.weight": torch.randn(32, 32),
        "roberta.pooler.dense.bias": torch.randn(32),
        "roberta.embeddings.position_ids": torch.arange(80)[None],
        "lm_head.decoder.weight": model.get_input_embeddings().weight.detach().clone(),  # type: ignore[operator]
    }


def pretraining_of_albert(model: nn.Module) -> dict[str, Tensor]:
    return {
        "albert.pooler.weight": torch.randn(32, 32),
        "albert.pooler.bias": torch.randn(32),
        "predictions.decoder.weight": model.get_input_embeddings().weight.detach().clone(),  # type: ignore[operator]
        "predictions.decoder.bias": model.state_dict()["predictions.bias"].clone(),
    }


def positions_of_roberta(model: nn.Module) -> dict[str, Tensor]:
    return {"roberta.embeddings.position_ids": torch.arange(80)[None]}


def positions_of_clip(model: nn.Module) -> dict[str, Tensor]:
    return {
        "text_model.embeddings.position_ids": torch.arange(40)[None],
        "vision_model.embeddings.position_ids": torch.arange(5)[None],
    }


@dataclass(frozen=True)
class Layout:
    """How one repository is laid out.

    Attributes:
        family: the class in transformers, without the head: "GPT2".
        head: its ending, such as "LMHeadModel".
        tokenizer: makes a tokenizer of the kind.
        config: what makes the model tiny, under the names of its published config.json.
        renamed: pattern -> replacement, for every key that transformers has today.
        extra: keys of the published file that a model of today does not have, or has once.
        present: keys that must be in the file: what this layout is about.
        vocabulary: whether the repository has vocab.json and merges.txt and no tokenizer.json.
    """

    family: str
    head: str
    tokenizer: Callable[[], Any]
    config: dict[str, Any]
    renamed: Mapping[str, str] = field(default_factory=dict)
    extra: Extra = nothing
    present: tuple[str, ...] = ()
    vocabulary: bool = False


GAMMA = {r"LayerNorm\.weight$": "LayerNorm.gamma", r"LayerNorm\.bias$": "LayerNorm.beta"}
GPT2_LAYOUT = Layout(
    "GPT2",
    "LMHeadModel",
    byte_level_bpe,
    GPT2,
    {r"^transformer\.": ""},
    causal_masks,
    ("wte.weight", "h.0.ln_1.weight", "h.1.attn.bias", "ln_f.bias"),
)
BERT_LAYOUT = Layout(
    "Bert",
    "ForMaskedLM",
    wordpiece,
    {**SIZES, "type_vocab_size": 2, "gradient_checkpointing": False},
    GAMMA,
    pretraining_of_bert,
    (
        "bert.embeddings.LayerNorm.gamma",
        "bert.encoder.layer.1.output.LayerNorm.beta",
        "cls.predictions.transform.LayerNorm.gamma",
        "cls.predictions.bias",
        "cls.predictions.decoder.weight",
        "cls.seq_relationship.weight",
    ),
)
ROBERTA_LAYOUT = Layout(
    "Roberta",
    "ForMaskedLM",
    byte_level_bpe_with_mask,
    {**SIZES, "type_vocab_size": 1, "pad_token_id": 1},
    {},
    pooler_of_roberta,
    ("lm_head.bias", "lm_head.dense.weight", "lm_head.layer_norm.bias", "lm_head.decoder.weight"),
)
ALBERT_LAYOUT = Layout(
    "Albert",
    "ForMaskedLM",
    metaspace_unigram,
    {**SIZES, "embedding_size": 20, "down_scale_factor": 1, "net_structure_type": 0},
    {},
    pretraining_of_albert,
    ("predictions.LayerNorm.weight", "predictions.bias", "predictions.decoder.bias", "albert.pooler.weight"),
)
LAYOUTS = {
    "gpt2": GPT2_LAYOUT,
    "gpt2_medium": GPT2_LAYOUT,
    "gpt2_large": GPT2_LAYOUT,
    "bert_base": BERT_LAYOUT,
    "bert_large": BERT_LAYOUT,
    "roberta_base": ROBERTA_LAYOUT,
    "roberta_large": ROBERTA_LAYOUT,
    "albert_base": ALBERT_LAYOUT,
    "albert_large": ALBERT_LAYOUT,
    "twitter_roberta": Layout(
        "Roberta",
        "ForSequenceClassification",
        roberta_bpe,
        {
            **SIZES,
            "pad_token_id": 1,
            "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
            "label2id": {"negative": 0, "neutral": 1, "positive": 2},
        },
        {},
        positions_of_roberta,
        ("classifier.dense.weight", "classifier.out_proj.bias", "roberta.embeddings.position_ids"),
        vocabulary=True,
    ),
    "clip_vit_b32": Layout(
        "CLIP",
        "Model",
        clip_bpe,
        {
            "projection_dim": 24,
            "text_config": {"max_position_embeddings": 40, "hidden_size": 32, "intermediate_size": 48},
            "vision_config": {"hidden_size": 32, "image_size": 16, "patch_size": 8, "intermediate_size": 48},
        },
        {},
        positions_of_clip,
        ("logit_scale", "text_projection.weight", "vision_model.pre_layrnorm.weight"),
    ),
}


def write(name: str, folder: Path) -> dict[str, Tensor]:
    """Write the tiny checkpoint of a published layout.

    Returns:
        The parameters that a model of today has, by the names that it has them under.
    """
    layout = LAYOUTS[name]
    tokenizer = layout.tokenizer()
    config = getattr(transformers, f"{layout.family}Config")(**_sized(layout, len(tokenizer)))
    torch.manual_seed(0)
    model = getattr(transformers, f"{layout.family}{layout.head}")(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)  # none is 0 or 1, as fresh ones are
    wanted = {key: tensor.detach().clone() for key, tensor in model.named_parameters()}
    saved = layout.extra(model)
    for key, tensor in wanted.items():
        for pattern, replacement in layout.renamed.items():
            key = re.sub(pattern, replacement, key)
        saved[key] = tensor
    missing = set(layout.present) - set(saved)
    assert not missing, f"the layout of {name} is about {missing}"
    tokenizer.save_pretrained(folder)
    if layout.vocabulary:
        tokenizer.backend_tokenizer.model.save(str(folder))
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (folder / file).unlink()
    save_file(saved, folder / "model.safetensors", metadata={"format": "pt"})
    described = {
        **_sized(layout, len(tokenizer)),
        "model_type": config.model_type,
        "architectures": [type(model).__name__],
    }
    (folder / "config.json").write_text(json.dumps(described))
    if layout.family == "CLIP":
        size = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
        transformers.CLIPImageProcessorPil(**size).save_pretrained(folder)
    return wanted


def _sized(layout: Layout, tokens: int) -> dict[str, Any]:
    """The config with the number of tokens where the family has it."""
    if "text_config" not in layout.config:
        return {"vocab_size": tokens, **layout.config}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": tokens, **layout.config["text_config"], **layers}
    return {
        **layout.config,
        "text_config": text,
        "vision_config": {**layout.config["vision_config"], **layers},
    }
