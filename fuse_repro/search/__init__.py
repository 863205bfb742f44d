"""Discrete optimisers over prompts."""

from fuse_repro.search.autodan import AutoDAN
from fuse_repro.search.frontier import Beam
from fuse_repro.search.linearisation import Linearisation
from fuse_repro.search.problem import Hypothesis, Optimizer, PromptProblem, SearchResult
from fuse_repro.search.proposal import Proposal

__all__ = [
    "AutoDAN",
    "Beam",
    "Hypothesis",
    "Linearisation",
    "Optimizer",
    "PromptProblem",
    "Proposal",
    "SearchResult",
]
