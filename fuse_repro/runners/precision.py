"""In what precision a run computes: what the device can do, and TF32 for as long as the Trainer is at work."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from fuse_repro.errors import require
from fuse_repro.models.precision import EXACT, multiplies_bfloat16, multiplies_tf32
from fuse_repro.shown import say

FULL, BRAIN, HALF = "32-true", "bf16-mixed", "16-mixed"
PRECISIONS = (FULL, BRAIN, HALF)
SAME_PRECISION = (None, "32", 32)  # as 32-true
MATMULS = (EXACT, "high", "medium")
CAPABLE = "NVIDIA GPUs have it from compute capability 8.0 on"
SLOW = "bfloat16 takes longer than float32 on this CPU, which has no instructions for it (AMX or AVX512-BF16)"


class MatmulPrecision(pl.Callback):
    """Sets the precision of float32 products while a trainer is at work, and puts back what was there before.

    Objectives and maps are in float32 whatever it is (see fuse_repro.models.precision).

    Args:
        matmul: one of MATMULS.
    """

    def __init__(self, matmul: str) -> None:
        self.matmul = matmul
        self._before: str | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """At the start of fit, test or predict."""
        self._before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.matmul)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """At the end."""
        self._put_back()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """At any other end."""
        self._put_back()

    def _put_back(self) -> None:
        if self._before is not None:
            torch.set_float32_matmul_precision(self._before)
            self._before = None


def matmul_of(values: Mapping[str, Any]) -> str:
    """The precision of float32 products that a trainer's config asks for."""
    given = values.get("matmul")
    return EXACT if given is None else str(given)


def check_precision(values: Mapping[str, Any]) -> None:
    """Raise UsageError for a precision that does not exist.

    Args:
        values: a trainer's resolved config.
    """
    precision, matmul = values.get("precision"), matmul_of(values)
    same = "dtype=bfloat16 or float16 stores the models themselves in fewer bits"
    known = precision in SAME_PRECISION or precision in PRECISIONS
    require(known, "trainer.precision", precision, f"one of {', '.join(PRECISIONS)}; {same}")
    require(matmul in MATMULS, "trainer.matmul", matmul, f"one of {', '.join(MATMULS)}")


def check_device(values: Mapping[str, Any], device: torch.device) -> None:
    """Refuse a precision that a device lacks, and say so where one is slow on it.

    Args:
        values: a trainer's resolved config.
        device: of the trainer.

    Raises:
        UsageError: a precision that the device lacks.
    """
    precision, matmul = values.get("precision"), matmul_of(values)
    half = precision != HALF or device.type != "cpu"
    require(half, "trainer.precision", precision, f"{FULL} or {BRAIN} on a CPU; {HALF} is for GPUs")
    if precision == BRAIN:
        _check_bfloat16("trainer.precision", precision, f"{FULL} or {HALF}", device)
    if matmul == "high":
        no_tf32 = f"{EXACT}, since {_named(device)} has no TF32; {CAPABLE}"
        require(multiplies_tf32(device), "trainer.matmul", matmul, no_tf32)
    if matmul == "medium":
        no_bfloat16 = f"{EXACT}, since {_named(device)} has no instructions for bfloat16"
        require(multiplies_bfloat16(device), "trainer.matmul", matmul, no_bfloat16)


def check_screening(config: DictConfig, device: torch.device) -> None:
    """Look at a search that scores candidates in bfloat16 first, and the best of them in float32.

    Args:
        config: of the run.
        device: where it computes.

    Raises:
        UsageError: nothing would be in float32, or a device without bfloat16.
    """
    screen = config.optimizer.get("screen")
    if screen is None:
        return
    trainer = config.trainer
    allowed = "null with {}={}: screening needs models in float32 (32-true, highest, float32) to be exact"
    others = {"trainer.precision": trainer.get("precision"), "trainer.matmul": matmul_of(trainer)}
    others |= dict(_dtypes("models", OmegaConf.to_container(config.models, resolve=True)))
    for name, value in others.items():
        exact = value in (*SAME_PRECISION, FULL, EXACT, "float32")
        require(exact, "optimizer.screen", screen, allowed.format(name, value))
    _check_bfloat16("optimizer.screen", screen, "null", device)


def _dtypes(key: str, node: Any) -> Iterator[tuple[str, Any]]:
    """The key and value of every `dtype` in a node and below."""
    for name, value in node.items() if isinstance(node, dict) else ():
        if name == "dtype":
            yield f"{key}.{name}", value
        yield from _dtypes(f"{key}.{name}", value)


def _check_bfloat16(name: str, value: object, instead: str, device: torch.device) -> None:
    """Refuse bfloat16 on a GPU that lacks it; a CPU has it, fast or slow."""
    if multiplies_bfloat16(device):
        return
    require(
        device.type == "cpu", name, value, f"{instead}, since {_named(device)} has no bfloat16; {CAPABLE}"
    )
    _say_once(f"{name}={value}: {SLOW}")


@lru_cache(maxsize=8)
def _say_once(text: str) -> None:
    """Say it to the user; a run has many trainers."""
    say(text)


def _named(device: torch.device) -> str:
    """What a device is called in a message."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"a device of type {device.type}"
