"""Keys that a config got later make no other run of one that was begun before."""

import pytest
from omegaconf import OmegaConf

from fuse_repro.runs.provenance import config_hash
from fuse_repro.schema import config_folder

NONE = OmegaConf.to_container(OmegaConf.load(config_folder() / "constraints" / "none.yaml"))


@pytest.mark.parametrize(
    ("part", "key", "default", "other"),
    [
        ("dataset", "recursive", False, True),
        ("dataset", "answers", "one", "any"),
        ("optimizer", "max_flops", None, 1.0),
        ("optimizer", "max_seconds", None, 1.0),
        ("optimizer", "starts", 1, 8),
        ("optimizer", "probe", None, 16),
        ("optimizer", "probe_filter", 8, 4),
        ("runner", "draft_examples", 2, 4),
        ("runner", "draft_models", None, ["lm"]),
        ("runner", "also", [], ["other"]),
        ("optimizer", "refinement", None, {"steps": 4}),
        ("optimizer", "constraints", NONE, NONE | {"repeats": False}),
    ],
)
def test_the_value_that_there_was_before_is_not_hashed(
    part: str, key: str, default: object, other: object
) -> None:
    before = {"seed": 0, part: {"_target_": "x"}}
    assert config_hash({**before, part: {"_target_": "x", key: default}}) == config_hash(before)
    assert config_hash({**before, part: {"_target_": "x", key: other}}) != config_hash(before)


@pytest.mark.parametrize("value", [False, True, "overwrite"])
def test_sidecars_make_no_other_run(value: object) -> None:
    assert config_hash({"runner": {"sidecar": value}}) == config_hash({"runner": {}})
