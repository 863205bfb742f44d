"""Where numbers are compared, float32: a Trainer's mixed precision is for forward passes only."""

from contextlib import AbstractContextManager

import torch


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """No autocast on this device: products keep the dtype of what goes in.

    Under `trainer.precision=bf16-mixed` every matrix product rounds to 8 bits, that of two float32 vectors
    too: a cosine near 1 then moves in steps of 0.004, and candidates tie.

    Args:
        device: where the tensors are.
    """
    return torch.autocast(device.type, enabled=False)
