"""Every named grid sweeps keys that its experiment has, over values of the right type."""

from pathlib import Path

import pytest
from composed import composed
from omegaconf import OmegaConf

from fuse_repro import schema
from fuse_repro.errors import UsageError
from fuse_repro.runs.provenance import config_hash
from fuse_repro.sweeps.compose import sweep_identity, swept
from fuse_repro.sweeps.named_grids import joined

CONF = schema.config_folder()
GRIDS = {
    "anchors": ("transfer", 5),
    "max_tokens": ("caption", 4),
    "prompt_length": ("transfer", 4),
    "candidates": ("caption", 4),
    "seeds": ("transfer", 5),
}


def test_every_grid_is_tried_here() -> None:
    assert {*GRIDS, "shards"} == {path.stem for path in (CONF / "sweep").glob("*.yaml")}


@pytest.mark.parametrize("name", GRIDS)
def test_a_named_grid_changes_the_config_at_every_value(name: str) -> None:
    experiment, count = GRIDS[name]
    grid = OmegaConf.load(Path(CONF / "sweep" / f"{name}.yaml")).hydra.sweeper.params
    *fixed, (key, values) = grid.items()
    hashes = set()
    for value in values.split(","):
        own = [f"{name}={chosen}" for name, chosen in fixed]
        config = composed(f"experiment={experiment}", *own, f"{key}={value}")
        hashes.add(config_hash(OmegaConf.to_container(config, resolve=True)))
    assert len(hashes) == count


def test_the_grid_of_shards_is_as_large_as_the_command_says() -> None:
    overrides = ["experiment=caption", "dataset.path=photos", "dataset.shards=8", "sweep=shards"]
    config = composed(*overrides, with_hydra=True)
    (axis,) = swept(config)
    values = list(axis.sweep_iterator())
    assert (axis.get_key_element(), values) == ("dataset.shard", list(range(8)))
    own = [[*overrides[:-1], f"dataset.shard={value}"] for value in values]
    hashes = {config_hash(OmegaConf.to_container(composed(*one), resolve=True)) for one in own}
    assert len(hashes) == 8
    other = composed(*overrides[:2], "dataset.shards=4", "sweep=shards", with_hydra=True)
    assert sweep_identity(config) != sweep_identity(other)


def test_the_identity_of_a_sweep_depends_on_what_is_swept_alone() -> None:
    def identity(*overrides: str) -> str:
        return sweep_identity(composed("experiment=transfer", *overrides, with_hydra=True))

    one = identity("sweep=anchors", "optimizer.m=3")
    assert one == identity("optimizer.m=3", "sweep=anchors")
    assert one == identity(
        "sweep=anchors", "optimizer.m=3", "output_root=x", "resume=all", "hydra/launcher=slurm"
    )
    assert one == identity("sweep=anchors", "optimizer.m=3", "hydra.launcher.workers=2")
    assert one != identity("sweep=anchors", "optimizer.m=4")
    assert one != identity("sweep=prompt_length", "optimizer.m=3")
    assert identity("sweep=[anchors,seeds]") not in (identity("sweep=anchors"), identity("sweep=seeds"))


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ("sweep=anchors,seeds", "sweep=[anchors,seeds]"),
        ("sweep=choice(anchors,seeds)", "sweep=[anchors,seeds]"),
        ("sweep=[anchors,seeds]", "sweep=[anchors,seeds]"),
        ("sweep=anchors", "sweep=anchors"),
        ("seed=0,1", "seed=0,1"),
        ("sweep_dir=a,b", "sweep_dir=a,b"),
    ],
)
def test_grids_with_commas_are_joined_as_a_list_is(given: str, same: str) -> None:
    assert joined(["experiment=transfer", given]) == ["experiment=transfer", same]


@pytest.mark.parametrize("given", ["sweep=glob(*)", "sweep=range(1,3)", "sweep=interval(0,1)"])
def test_a_grid_is_no_value_to_sweep_over(given: str) -> None:
    with pytest.raises(UsageError, match="give the names of grids, as sweep=A or sweep=A,B"):
        joined([given])
