"""Maps between two models' embedding spaces."""

from fuse_repro.adapters.alignment import Alignment
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.fuse import FuseAdapterModule
from fuse_repro.adapters.fuse_config import FuseConfig
from fuse_repro.adapters.random_map import RandomConfig, RandomMap

__all__ = ["Alignment", "EmbeddingMap", "FuseAdapterModule", "FuseConfig", "RandomConfig", "RandomMap"]
