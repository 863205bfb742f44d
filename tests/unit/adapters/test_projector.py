"""The two-layer projector of PTfer, A.2."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny_tables import related_model, table_model
from torch import nn

from fuse_repro.adapters.anchors import Anchors, shared_anchors
from fuse_repro.adapters.base import fit_values
from fuse_repro.adapters.projector import ProjectorMap
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

QUICK = {"hidden": 32, "epochs": 4, "holdout": 30}


@pytest.fixture(scope="module")
def source() -> FrozenModel:
    return table_model("byte_level_bpe", 16)


@pytest.fixture(scope="module")
def target(source: FrozenModel) -> FrozenModel:
    return related_model(source, "metaspace_bpe", 24)


@pytest.fixture(scope="module")
def projector(source: FrozenModel, target: FrozenModel) -> ProjectorMap:
    return ProjectorMap.fit(source, target, (), **QUICK)


def test_the_defaults_are_the_papers() -> None:
    config = fit_values(ProjectorMap.fit, {})
    assert (config["hidden"], config["lr"], config["batch_size"], config["epochs"]) == (768, 5e-3, 16, 10)


def test_it_is_two_linear_layers_with_a_leaky_relu_between(projector: ProjectorMap) -> None:
    layers = nn.Sequential(nn.Linear(16, 32), nn.LeakyReLU(), nn.Linear(32, 24))
    layers.load_state_dict(
        {"0.weight": projector.w1, "0.bias": projector.b1, "2.weight": projector.w2, "2.bias": projector.b2}
    )
    prompt = torch.randn(5, 16)
    torch.testing.assert_close(projector.transfer(prompt), layers(prompt))


def test_it_learns_the_map_and_shuffled_anchors_do_not(source: FrozenModel, target: FrozenModel) -> None:
    anchors = shared_anchors([source, target])
    kept, held = anchors.hold_out(40, seed=7)
    x, y = held.embeddings([source, target])
    config = {"hidden": 64, "epochs": 10, "holdout": 30}

    def error(some: Anchors) -> float:
        return float((ProjectorMap.fit(source, target, given=some, **config).transfer(x) - y).square().mean())

    spread = float((y - y.mean(0)).square().mean())
    assert error(kept) < 0.5 * spread
    shuffled = torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))
    assert error(Anchors(kept.words, (kept.source_ids, kept.target_ids[shuffled]))) > 0.9 * spread


def test_the_epoch_is_chosen_by_anchors_that_are_not_trained_on(
    source: FrozenModel, target: FrozenModel
) -> None:
    def first_layer(**changes: object) -> torch.Tensor:
        return ProjectorMap.fit(source, target, (), hidden=8, holdout=30, lr=0.5, **changes).w1

    runs = [first_layer(epochs=epochs) for epochs in (1, 2, 3, 4)]
    last = [first_layer(epochs=epochs, select="last") for epochs in (1, 2)]
    assert any(torch.equal(one, two) for one, two in pairwise(runs)), "a worse epoch is not kept"
    assert not torch.equal(last[0], last[1])


def test_the_pullback_is_the_mean_jacobian_over_the_anchors(projector: ProjectorMap) -> None:
    kept, _ = shared_anchors([projector.source, projector.target]).hold_out(30, seed=0)
    x = projector.source.embed(kept.source_ids)
    jacobians = torch.func.vmap(torch.func.jacrev(lambda v: _forward(projector, v)))(x)
    torch.testing.assert_close(projector.jacobian, jacobians.mean(0).T, rtol=1e-4, atol=1e-5)
    alignment = projector.align(["the dog"])
    word = alignment.words[-1]
    gradient = torch.randn(1, alignment.target_ids.shape[1], 24)
    pulled = projector.pullback(gradient, alignment)[0, word.source_start]
    torch.testing.assert_close(pulled, gradient[0, word.target_start] @ projector.jacobian.T)


def _forward(projector: ProjectorMap, vector: torch.Tensor) -> torch.Tensor:
    hidden = nn.functional.leaky_relu(projector.w1 @ vector + projector.b1)
    return projector.w2 @ hidden + projector.b2


def test_a_seed_gives_the_same_projector_and_the_cache_keeps_it(
    tmp_path: Path, source: FrozenModel, target: FrozenModel, projector: ProjectorMap
) -> None:
    torch.manual_seed(123)  # nothing may depend on the global generator
    again = ProjectorMap.fit(source, target, (), cache_dir=tmp_path, **QUICK)
    assert all(torch.equal(one, two) for one, two in zip(again.buffers(), projector.buffers(), strict=True))
    (path,) = tmp_path.rglob("*.safetensors")
    found = ProjectorMap.fit(source, target, (), cache_dir=tmp_path, **QUICK)
    assert torch.equal(found.w2, again.w2)
    path.write_bytes(b"damaged")
    assert torch.equal(ProjectorMap.fit(source, target, (), cache_dir=tmp_path, **QUICK).w2, again.w2)
    other = ProjectorMap.fit(source, target, (), cache_dir=tmp_path, seed=1, **QUICK)
    assert not torch.equal(other.w2, again.w2)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_what_cannot_be_used(source: FrozenModel, target: FrozenModel, projector: ProjectorMap) -> None:
    for setting in ({"hidden": 0}, {"lr": 0.0}, {"batch_size": 0}, {"epochs": 0}, {"select": "dev"}):
        with pytest.raises(UsageError, match=rf"adapter\.{next(iter(setting))}"):
            ProjectorMap.check(**setting)
    with pytest.raises(UsageError, match=r"adapter\.holdout=5000.*left to train on"):
        ProjectorMap.fit(source, target, (), holdout=5000)
    with pytest.raises(UsageError, match="NaN"):
        projector.transfer(torch.full((1, 16), float("nan")))
