"""Discrete optimisers over prompts."""

from fuse_repro.search.autodan import AutoDAN
from fuse_repro.search.autoprompt import AutoPrompt
from fuse_repro.search.constraints import Constraints
from fuse_repro.search.frontier import Beam, UniformCost
from fuse_repro.search.gaslite import GASLITE
from fuse_repro.search.gcg import GCG
from fuse_repro.search.linearisation import Linearisation
from fuse_repro.search.pez import PEZ
from fuse_repro.search.problem import Hypothesis, Optimizer, PromptProblem, SearchResult
from fuse_repro.search.proposal import Proposal
from fuse_repro.search.random_search import RandomSearch
from fuse_repro.search.refinement import Refinement

__all__ = [
    "GASLITE",
    "GCG",
    "PEZ",
    "AutoDAN",
    "AutoPrompt",
    "Beam",
    "Constraints",
    "Hypothesis",
    "Linearisation",
    "Optimizer",
    "PromptProblem",
    "Proposal",
    "RandomSearch",
    "Refinement",
    "SearchResult",
    "UniformCost",
]
