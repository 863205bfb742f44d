"""Move gradients and soft prompts between language models that share no tokenizer and no embedding space."""

from typing import Any

__version__ = "0.1.0"

# What `from fuse_repro import ...` finds, each loaded when it is asked for: importing the package itself costs nothing.
_HOMES = {
    "caption": "fuse_repro.library",
    "load_model": "fuse_repro.library",
    "move_prompt": "fuse_repro.library",
    "CausalLM": "fuse_repro.models.causal_lm",
    "MaskedLM": "fuse_repro.models.masked_lm",
    "TextEncoder": "fuse_repro.models.text_encoder",
    "SequenceClassifier": "fuse_repro.models.classifier",
    "ClipDualEncoder": "fuse_repro.models.clip",
    "SiglipDualEncoder": "fuse_repro.models.siglip",
    "FuseAdapterModule": "fuse_repro.adapters",
    "LookupMap": "fuse_repro.adapters",
    "RelativePromptTransfer": "fuse_repro.adapters",
    "SoftPrompt": "fuse_repro.prompts",
    "UsageError": "fuse_repro.errors",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fuse_repro' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
