"""Precision@1: exact shares, ties, and the same counts however the items are divided over processes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.metrics.precision import PrecisionAtOne, RelationPrecision

TWO_PROCESSES = """
import os
import sys
import torch
from fuse_repro.metrics.precision import PrecisionAtOne, RelationPrecision

other = os.fork()  # both have read the libraries once
rank = int(other == 0)
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)
hits = [(0, 3), (2, 4)][rank]  # process 0 finds none of 3, process 1 finds 2 of 4
one, several = PrecisionAtOne(3), RelationPrecision(["P19", "P36"])
log_probs = torch.eye(3)[torch.tensor([int(n >= hits[0]) for n in range(hits[1])])]
one.update(log_probs, torch.zeros(hits[1], dtype=torch.long))
several.update(["P19", "P36"][rank], log_probs, torch.zeros(hits[1], dtype=torch.long))
print(float(one.compute()) == 2 / 7, {name: float(share) for name, share in several.compute().items()}, flush=True)
if other:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
"""


def items(count: int, candidates: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(count, candidates, generator=generator).log_softmax(1)
    return log_probs, torch.randint(candidates, (count,), generator=generator)


def batches(log_probs: Tensor, gold: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(log_probs.split(size), gold.split(size), strict=True)


@pytest.mark.parametrize("count", [1, 3, 7, 49, 300])
def test_the_share_is_exact(count: int) -> None:
    """Records hold it: not the nearest number in 32 bits but hits / items."""
    log_probs, gold = items(count, 5)
    metric = PrecisionAtOne(5)
    for part in batches(log_probs, gold, 4):
        metric.update(*part)
    hits = [best == answer for best, answer in zip(log_probs.argmax(1).tolist(), gold.tolist(), strict=True)]
    assert float(metric.compute()) == sum(hits) / len(hits)
    assert metric.compute().dtype == torch.float64


def test_of_equals_the_earlier_candidate_is_taken() -> None:
    metric = PrecisionAtOne(3)
    metric.update(torch.tensor([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]]), torch.tensor([0, 2]))
    assert float(metric.compute()) == 0.5


def test_a_single_candidate_is_always_found() -> None:
    metric = PrecisionAtOne(1)
    metric.update(torch.zeros(4, 1), torch.zeros(4, dtype=torch.long))
    assert float(metric.compute()) == 1.0


def test_counts_of_two_processes_add_up() -> None:
    log_probs, gold = items(31, 6)
    whole, first, second = PrecisionAtOne(6), PrecisionAtOne(6), PrecisionAtOne(6)
    whole.update(log_probs, gold)
    first.update(log_probs[:12], gold[:12])
    second.update(log_probs[12:], gold[12:])
    first.merge_state(second)
    assert float(first.compute()) == float(whole.compute())


def test_every_relation_counts_once() -> None:
    sizes = {"P19": (40, 7), "P36": (3, 2), "country.capital": (11, 30)}
    asked = {name: items(*size, seed=row) for row, (name, size) in enumerate(sizes.items())}
    metrics = [RelationPrecision(list(sizes)) for _ in range(2)]
    for name, (log_probs, gold) in asked.items():
        for place, part in enumerate(batches(log_probs, gold, 5)):
            metrics[place % 2].update(name, *part)
    metrics[0].merge_state(metrics[1])
    shares = {
        name: fmean((log_probs.argmax(1) == gold).tolist()) for name, (log_probs, gold) in asked.items()
    }
    found = {name: float(share) for name, share in metrics[0].compute().items()}
    assert found == shares | {"mean_over_relations": pytest.approx(fmean(shares.values()), abs=1e-15)}


def test_a_relation_that_was_not_asked_is_left_out() -> None:
    metric = RelationPrecision(["P19", "P36"])
    metric.update("P36", torch.eye(2), torch.tensor([0, 1]))
    assert {name: float(share) for name, share in metric.compute().items()} == {
        "P36": 1.0,
        "mean_over_relations": 1.0,
    }


def test_real_processes_share_their_counts(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO_PROCESSES, str(tmp_path / "meeting")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["True {'P19': 0.0, 'P36': 0.5, 'mean_over_relations': 0.25}"] * 2


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_errors() -> None:
    for empty in (PrecisionAtOne(2), RelationPrecision(["P19"])):
        with pytest.raises(UsageError, match="items=0 is not allowed: at least one"):
            empty.compute()
    with pytest.raises(UsageError, match=r"relation='P20' is not allowed: one of P19"):
        RelationPrecision(["P19"]).update("P20", torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
    for names in ([], ["P19", "P19"], ["mean_over_relations"]):
        with pytest.raises(UsageError, match="at least one name, each once"):
            RelationPrecision(names)
