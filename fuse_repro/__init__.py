"""Move gradients and soft prompts between language models that share no tokenizer and no embedding space."""

__version__ = "0.1.0"
