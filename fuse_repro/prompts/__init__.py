"""Soft prompts: vectors that a model reads as if they were tokens; their starts, and their files."""

from fuse_repro.prompts.around import around, before_text, template_ids
from fuse_repro.prompts.inits import normal_init, template_init, vocabulary_init
from fuse_repro.prompts.peft_format import (
    PEFT_CONFIG,
    PEFT_KEY,
    PEFT_WEIGHTS,
    load_peft,
    read_peft,
    save_peft,
)
from fuse_repro.prompts.places import peft_place
from fuse_repro.prompts.soft_prompt import AFTER_BOS, POSITIONS, SoftPrompt, for_model

__all__ = [
    "AFTER_BOS",
    "PEFT_CONFIG",
    "PEFT_KEY",
    "PEFT_WEIGHTS",
    "POSITIONS",
    "SoftPrompt",
    "around",
    "before_text",
    "for_model",
    "load_peft",
    "normal_init",
    "peft_place",
    "read_peft",
    "save_peft",
    "template_ids",
    "template_init",
    "vocabulary_init",
]
