"""The shared multi-objective loss and its terms."""

from fuse_repro.loss import LossValues, MultiObjectiveLoss
from fuse_repro.objectives.classifier import ClassifierTerm
from fuse_repro.objectives.fluency import FluencyTerm, prompt_nll
from fuse_repro.objectives.match import EmbeddingMatchTerm, ImageMatchTerm, TextMatchTerm
from fuse_repro.objectives.prompt_batch import OpenSlot, PromptBatch
from fuse_repro.objectives.secondary_fluency import SecondaryFluencyTerm

__all__ = [
    "ClassifierTerm",
    "EmbeddingMatchTerm",
    "FluencyTerm",
    "ImageMatchTerm",
    "LossValues",
    "MultiObjectiveLoss",
    "OpenSlot",
    "PromptBatch",
    "SecondaryFluencyTerm",
    "TextMatchTerm",
    "prompt_nll",
]
