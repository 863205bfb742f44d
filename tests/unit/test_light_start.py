"""A mistake is told, and a light run has begun, without the libraries that most runs need."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "pytorch_lightning", "torchmetrics", "matplotlib")
SHOWN = f"print([name for name in {HEAVY} if name in sys.modules])"


def test_the_life_of_a_run_is_loaded_without_torch_and_lightning() -> None:
    code = f"import sys, fuse_repro.runners.launch, fuse_repro.sweeps.slurm_job; {SHOWN}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
