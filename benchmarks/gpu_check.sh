#!/usr/bin/env bash
# All that is to be seen on a machine with a CUDA GPU, in under eight minutes: the tests marked gpu, then the papers' own sizes.
#
#     bash benchmarks/gpu_check.sh [FOLDER FOR THE RESULTS]
#
# The machine needs no network and no installation beyond PyTorch for CUDA, transformers, pytorch-lightning, torchmetrics, rich,
# jinja2, hypothesis, peft and pytest: `make gpu-bundle` puts what else is needed beside this script, before the tree is sent there.
set -uo pipefail
cd "$(dirname "$0")/.."
results=${1:-benchmarks/results}
mkdir -p "$results"
python=${PYTHON:-python3}

if compgen -G 'benchmarks/gpu_bundle/*.whl' >/dev/null; then
  site=$(mktemp -d)
  "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" benchmarks/gpu_bundle/*.whl || exit 1
  export PYTHONPATH=$site
fi
export PYTHONPATH=$PWD:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=true

"$python" - <<'PY' || exit 1
import sys
from importlib.metadata import PackageNotFoundError, version

import torch

if not torch.cuda.is_available():
    sys.exit("gpu_check: torch sees no CUDA device here")
print(torch.cuda.get_device_name(), "torch", torch.__version__, "CUDA", torch.version.cuda)
for name, tried in {"transformers": "5.23", "tokenizers": "0.22", "pytorch-lightning": "2.6.6", "hydra-core": "1.3.8"}.items():
    try:
        print(name, version(name), f"(tried with {tried} and later)")
    except PackageNotFoundError:
        sys.exit(f"gpu_check: {name} is missing: make gpu-bundle, then send the tree again")
PY

echo "== tests marked gpu (at most 150 s)"
timeout 150 "$python" -m pytest -q -m gpu -p no:cacheprovider -n 4 --junitxml "$results/gpu_tests.xml" tests/device tests/unit tests/integration/test_runs_on_cuda.py
echo "exit code of the tests: $?"

echo "== the papers' own sizes (at most 75 s a part)"
timeout 320 "$python" benchmarks/paper_scale.py --device cuda --seconds 75
[[ $results == benchmarks/results ]] || cp -f benchmarks/results/gpu_*.json "$results/" 2>/dev/null
echo "== results in $results"
