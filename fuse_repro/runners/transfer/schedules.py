"""Learning rates over the steps of a tuning, for `optimizer.schedule`."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from fuse_repro.errors import require


def linear_warmup(optimizer: Optimizer, total_steps: int, warmup: float = 0.1) -> LambdaLR:
    """A rate that rises linearly over a share of the steps and then falls linearly to zero, as in OptiPrompt.

    Args:
        optimizer: whose rates are scaled.
        total_steps: of the tuning.
        warmup: the share, from 0 to below 1.

    Raises:
        UsageError: another share.
    """
    require(0 <= warmup < 1, "optimizer.schedule.warmup", warmup, "from 0 to below 1, a share of the steps")
    rising = warmup * total_steps

    def scale(step: int) -> float:
        return min((step + 1) / (rising + 1), (total_steps - step) / (total_steps - rising))

    return LambdaLR(optimizer, scale)
