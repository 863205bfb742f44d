"""What runs on an accelerator equals the same work on the CPU.

Every test here runs twice: on the CPU, so that the test itself is known to work, and on CUDA where there is one.
The reference is the CPU in float64, so that neither run is compared with itself.
"""

import pytest
import torch


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where the work under test runs, in float32 as torch has it by default (no TF32 for products)."""
    return torch.device(request.param)
