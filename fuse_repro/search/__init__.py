"""Discrete optimisers over prompts."""

from fuse_repro.search.autodan import AutoDAN
from fuse_repro.search.frontier import Beam
from fuse_repro.search.problem import Hypothesis, Optimizer, PromptProblem, SearchResult

__all__ = ["AutoDAN", "Beam", "Hypothesis", "Optimizer", "PromptProblem", "SearchResult"]
