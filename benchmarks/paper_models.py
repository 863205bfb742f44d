"""Models of the papers' sizes with random weights, and real tokenizers: speed does not depend on the weights' values.

SmolLM2's tokenizer stands in for GPT-2's (both byte-level BPE; 49,152 of 50,257 tokens), MiniLM's WordPiece for
those of CLIP, RoBERTa and BERT. Embedding tables have the published numbers of rows.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from _common import config
from omegaconf import OmegaConf

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.classifier import SequenceClassifier
from fuse_repro.models.clip import ClipDualEncoder
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.weights import resolve

BUNDLE = Path(__file__).parent / "gpu_bundle"
SHORT = {"smollm2": "smollm2_135m", "minilm": "minilm"}
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json")


def bundle_tokenizers(folder: Path = BUNDLE) -> None:
    """Copy the tokenizers of the cached models, for a machine without network and without weights."""
    for short, model in SHORT.items():
        own = config("experiment=demo", f"model@models.lm={model}").models.lm
        node: Any = OmegaConf.to_container(own, resolve=True)
        source = {
            key: node[key] for key in ("wheel", "hub", "path", "cache_dir") if node.get(key) is not None
        }
        directory = resolve(model, node["source"], **source).directory
        (folder / short).mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if (directory / name).is_file():
                shutil.copy(directory / name, folder / short / name)


def tokenizer(short: str, folder: Path = BUNDLE) -> WordTokenizer:
    """`smollm2` or `minilm`, from the bundle; made from the cached models where there is no bundle yet."""
    if not (folder / short / "tokenizer.json").is_file():
        bundle_tokenizers(folder)
    return WordTokenizer(transformers.AutoTokenizer.from_pretrained(folder / short, local_files_only=True))


def gpt2_medium() -> CausalLM:
    """GPT-2 medium: 24 layers, d = 1024, 355 million parameters."""
    settings = transformers.GPT2Config(vocab_size=50_257, n_embd=1024, n_layer=24, n_head=16)
    return CausalLM(_random("GPT2LMHeadModel", settings), tokenizer("smollm2"), name="gpt2_medium_random")


def clip_vit_b32() -> ClipDualEncoder:
    """CLIP ViT-B/32: text tower of 12 layers, d = 512; 151 million parameters."""
    words = tokenizer("minilm")
    ends = {"bos_token_id": words.prefix_ids[0], "eos_token_id": words.suffix_ids[0]}
    settings = transformers.CLIPConfig(text_config=ends | {"vocab_size": 49_408}, projection_dim=512)
    processor = transformers.CLIPImageProcessorPil()
    return ClipDualEncoder(_random("CLIPModel", settings), words, processor, name="clip_vit_b32_random")


def roberta_classifier() -> SequenceClassifier:
    """RoBERTa base with three labels: 12 layers, d = 768, 125 million parameters."""
    settings = transformers.RobertaConfig(
        vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, num_labels=3
    )
    labels = ("negative", "neutral", "positive")
    model = _random("RobertaForSequenceClassification", settings)
    return SequenceClassifier(model, tokenizer("minilm"), labels, name="roberta_base_random")


def bert_base() -> MaskedLM:
    """BERT base: 12 layers, d = 768, 110 million parameters."""
    settings = transformers.BertConfig(vocab_size=30_522)
    return MaskedLM(_random("BertForMaskedLM", settings), tokenizer("minilm"), name="bert_base_random")


def roberta_large() -> MaskedLM:
    """RoBERTa large: 24 layers, d = 1024, 355 million parameters."""
    settings = transformers.RobertaConfig(
        vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1,
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
    )  # fmt: skip
    return MaskedLM(_random("RobertaForMaskedLM", settings), tokenizer("minilm"), name="roberta_large_random")


def _random(name: str, settings: Any) -> torch.nn.Module:
    settings._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(transformers, name)(settings)
