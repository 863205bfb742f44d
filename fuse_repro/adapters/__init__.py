"""Maps between two models' embedding spaces."""

from fuse_repro.adapters.anchors import Anchors, shared_anchors
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.direct import DirectConfig
from fuse_repro.adapters.discretise import DiscretiseConfig, DiscretisedMap
from fuse_repro.adapters.fuse.config import FuseConfig
from fuse_repro.adapters.fuse.module import FuseAdapterModule
from fuse_repro.adapters.linear import LinearMap, ProcrustesConfig, RidgeConfig
from fuse_repro.adapters.lookup import LookupConfig, LookupMap
from fuse_repro.adapters.projector import ProjectorConfig, ProjectorMap
from fuse_repro.adapters.random_map import RandomConfig, RandomMap
from fuse_repro.adapters.relative.calibration import CalibrationRow, calibrate
from fuse_repro.adapters.relative.config import RelativeConfig
from fuse_repro.adapters.relative.module import RelativePromptTransfer, TransferResult
from fuse_repro.alignment.pairs import Alignment

__all__ = [
    "Alignment",
    "Anchors",
    "CalibrationRow",
    "DirectConfig",
    "DiscretiseConfig",
    "DiscretisedMap",
    "EmbeddingMap",
    "FuseAdapterModule",
    "FuseConfig",
    "LinearMap",
    "LookupConfig",
    "LookupMap",
    "ProcrustesConfig",
    "ProjectorConfig",
    "ProjectorMap",
    "RandomConfig",
    "RandomMap",
    "RelativeConfig",
    "RelativePromptTransfer",
    "RidgeConfig",
    "TransferResult",
    "calibrate",
    "shared_anchors",
]
