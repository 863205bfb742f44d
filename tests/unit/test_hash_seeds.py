"""Nothing that is kept or compared depends on the order of Python's hashes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import digests
import pytest

TESTS = Path(__file__).parents[1]


def _in_process(hash_seed: int) -> dict[str, object]:
    paths = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": paths}
    command = [sys.executable, str(TESTS / "digests.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def own() -> dict[str, object]:
    return json.loads(json.dumps(digests.digests()))


@pytest.mark.parametrize("hash_seed", [1, 2])
def test_every_digest_is_the_same_under_any_hash_seed(own: dict[str, object], hash_seed: int) -> None:
    """Tokenizers, words, statements, splits of facts, and anchors of every selection."""
    assert len(own) == 5
    assert _in_process(hash_seed) == own
