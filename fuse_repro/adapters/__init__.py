"""Maps between two models' embedding spaces."""

from fuse_repro.adapters.anchors import Anchors, shared_anchors
from fuse_repro.adapters.auto.choice import Choice
from fuse_repro.adapters.auto.module import AutoMap
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.direct import DirectMap
from fuse_repro.adapters.discretise import DiscretisedMap
from fuse_repro.adapters.first_words import FirstWords
from fuse_repro.adapters.fuse.module import FuseAdapterModule
from fuse_repro.adapters.identity import IdentityMap
from fuse_repro.adapters.linear import LinearMap, ProcrustesMap, RidgeMap
from fuse_repro.adapters.local import LocalMap
from fuse_repro.adapters.lookup import LookupMap
from fuse_repro.adapters.projector import ProjectorMap
from fuse_repro.adapters.random_map import RandomMap
from fuse_repro.adapters.relative.calibration import CalibrationRow, calibrate
from fuse_repro.adapters.relative.match import TransferResult
from fuse_repro.adapters.relative.module import RelativePromptTransfer
from fuse_repro.adapters.sparse import SparseMap
from fuse_repro.adapters.trained.map import TrainedMap
from fuse_repro.alignment.pairs import Alignment

__all__ = [
    "Alignment",
    "Anchors",
    "AutoMap",
    "CalibrationRow",
    "Choice",
    "DirectMap",
    "DiscretisedMap",
    "EmbeddingMap",
    "FirstWords",
    "FuseAdapterModule",
    "IdentityMap",
    "LinearMap",
    "LocalMap",
    "LookupMap",
    "ProcrustesMap",
    "ProjectorMap",
    "RandomMap",
    "RelativePromptTransfer",
    "RidgeMap",
    "SparseMap",
    "TrainedMap",
    "TransferResult",
    "calibrate",
    "shared_anchors",
]
