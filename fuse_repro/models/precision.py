"""In how many bits models compute, and where numbers are compared: float32.

A Trainer's mixed precision, and TF32, are for the models' forward and backward passes only.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

EXACT = "highest"  # float32 products in float32
AMPERE = (8, 0)  # the first NVIDIA GPUs that multiply in bfloat16 and TF32


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast on this device, and no TF32: products keep the dtype of what goes in, and all of its bits.

    Under `trainer.precision=bf16-mixed` every matrix product rounds to 8 bits, that of two float32 vectors
    too: a cosine near 1 then moves in steps of 0.004, and candidates tie. TF32 (`trainer.matmul=high`) rounds to 11.

    Args:
        device: where the tensors are.
    """
    before = torch.get_float32_matmul_precision()
    if before != EXACT:
        torch.set_float32_matmul_precision(EXACT)
    try:
        with as_forward(device):
            yield
    finally:
        if before != EXACT:
            torch.set_float32_matmul_precision(before)


def as_forward(device: torch.device) -> AbstractContextManager[None]:
    """For a backward pass: no autocast on this device, so that it computes in the dtypes that the forward pass had.

    TF32 stays as it is, since models may use it both ways.

    Args:
        device: where the tensors are.
    """
    return torch.autocast(device.type, enabled=False)


def low_precision(device: torch.device) -> AbstractContextManager[None]:
    """Models compute in bfloat16, whatever their weights are; what is made of their outputs stays float32.

    The weights are rounded anew in every forward pass, as frozen ones are under autocast. A second copy of them would
    spare that and cost half of the weights' memory again, with a second objective that reads it. Norms and sums over
    layers stay float32 this way, and any term works, also one that is not ours.

    Args:
        device: where the models are.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for products in bfloat16; True where it does not say.

    A CPU without them computes the same, more slowly than in float32.
    """
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= AMPERE
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        known = torch.cpu.get_capabilities()
        return any(there is True for name, there in known.items() if "bf16" in name)
    return True


def multiplies_tf32(device: torch.device) -> bool:
    """Whether a device has TF32, which is what `trainer.matmul=high` asks for."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= AMPERE
