"""The shared multi-objective loss and its terms."""

from fuse_repro.adapters.relative.objective import RelativeMatchTerm
from fuse_repro.loss import LossValues, MultiObjectiveLoss
from fuse_repro.objectives.answer_examples import AnswerExamples
from fuse_repro.objectives.answer_likelihood import AnswerTerm
from fuse_repro.objectives.answers import AnswerCrossEntropyTerm
from fuse_repro.objectives.classifier import ClassifierTerm
from fuse_repro.objectives.fluency import FluencyTerm, prompt_nll
from fuse_repro.objectives.match import EmbeddingMatchTerm, ImageMatchTerm, TextMatchTerm
from fuse_repro.objectives.nearest_words import NearestWordsFluencyTerm
from fuse_repro.objectives.prompt_batch import OpenSlot, PromptBatch
from fuse_repro.objectives.secondary_fluency import SecondaryFluencyTerm
from fuse_repro.objectives.soft_prompt import NearTokensTerm, VectorLengthTerm

__all__ = [
    "AnswerCrossEntropyTerm",
    "AnswerExamples",
    "AnswerTerm",
    "ClassifierTerm",
    "EmbeddingMatchTerm",
    "FluencyTerm",
    "ImageMatchTerm",
    "LossValues",
    "MultiObjectiveLoss",
    "NearTokensTerm",
    "NearestWordsFluencyTerm",
    "OpenSlot",
    "PromptBatch",
    "RelativeMatchTerm",
    "SecondaryFluencyTerm",
    "TextMatchTerm",
    "VectorLengthTerm",
    "prompt_nll",
]
