"""How far a result in float32 may be from the reference in float64."""

from collections.abc import Callable

import torch
from torch import Tensor

from fuse_repro.models.base import FrozenModel


def distance(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|, of all values together."""
    wanted = expected.detach().to("cpu", torch.float64)
    return float((found.detach().to("cpu", torch.float64) - wanted).norm() / wanted.norm().clamp_min(1e-12))


def pair(make: Callable[[], FrozenModel], device: torch.device) -> tuple[FrozenModel, FrozenModel]:
    """The same model twice: as the reference, and on the device in float32."""
    return make().to("cpu", torch.float64), make().to(device)
