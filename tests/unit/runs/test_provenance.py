"""Seeds, hashes of configs, strict JSON, and what is said about the machine."""

import json
import math
import random
import subprocess
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuse_repro.errors import UsageError
from fuse_repro.runs import provenance

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def draws() -> tuple[float, float, float]:
    return random.random(), float(numpy.random.rand()), float(torch.rand(()))  # noqa: NPY002


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_one_seed_gives_one_stream_in_every_generator(seed: int) -> None:
    provenance.seed_everything(seed)
    first = draws()
    second = draws()
    provenance.seed_everything(seed)
    assert draws() == first != second


def test_no_seed_leaves_the_generators_alone() -> None:
    provenance.seed_everything(0)
    expected = [draws(), draws()]
    provenance.seed_everything(0)
    begun = draws()
    provenance.seed_everything(None)
    assert [begun, draws()] == expected


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "7", True])
def test_a_seed_out_of_range_is_named(seed: object) -> None:
    with pytest.raises(UsageError, match=r"seed=.* is not allowed: a whole number from 0"):
        provenance.seed_everything(seed)  # type: ignore[arg-type]


def test_the_hash_ignores_order_and_output_but_nothing_else() -> None:
    config = {"seed": 0, "model": {"name": "a", "layers": [1, 2]}, "output_dir": "x", "hydra": {"job": 1}}
    reordered = {"model": {"layers": (1, 2), "name": "a"}, "seed": 0, "output_dir": Path("elsewhere")}
    assert provenance.config_hash(config) == provenance.config_hash(reordered)
    changes = [{"seed": None}, {"seed": 1}, {"model": {"name": "a", "layers": [2, 1]}}, {"new": 1}]
    nested = {"model": config["model"] | {"output_dir": "kept"}}  # type: ignore[operator]
    hashes = {provenance.config_hash(config | change) for change in [*changes, nested]}
    assert len(hashes) == 5
    assert provenance.config_hash(config) not in hashes


def test_how_weights_are_verified_is_not_part_of_the_hash() -> None:
    config = {"seed": 0, "models": {"lm": {"weights": "of the model"}}}
    assert provenance.config_hash(config | {"weights": {"verify": "never"}}) == provenance.config_hash(config)
    assert provenance.config_hash({"seed": 0, "models": {"lm": {}}}) != provenance.config_hash(config)


def test_a_bound_that_came_later_is_part_of_the_hash_once_it_is_set() -> None:
    plain = {"optimizer": {"beam": 2}}
    assert provenance.config_hash({"optimizer": {"beam": 2, "max_flops": None}}) == provenance.config_hash(
        plain
    )
    assert provenance.config_hash({"optimizer": {"beam": 2, "max_flops": 1e13}}) != provenance.config_hash(
        plain
    )
    assert provenance.config_hash({"optimizer": {"beam": 2, "patience": None}}) != provenance.config_hash(
        plain
    )


@pytest.mark.parametrize(
    ("group", "key", "before", "other"),
    [("optimizer", "screen", None, 8), ("trainer", "matmul", "highest", "high")],
)
def test_a_precision_that_came_later_is_part_of_the_hash_once_it_is_set(
    group: str, key: str, before: object, other: object
) -> None:
    plain = provenance.config_hash({group: {"a": 1}})
    assert provenance.config_hash({group: {"a": 1, key: before}}) == plain
    assert provenance.config_hash({group: {"a": 1, key: other}}) != plain


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_the_hash_survives_json(config: dict) -> None:
    again = json.loads(json.dumps(config))
    assert provenance.config_hash(config) == provenance.config_hash(again)


@given(json_values)
def test_strict_json_is_ascii_and_holds_no_nan(value: object) -> None:
    text = provenance.strict_json(value)
    assert text.isascii()
    assert "\n" not in text
    json.loads(text, parse_constant=pytest.fail)


def test_plain_unpacks_arrays_tensors_and_paths() -> None:
    value = {"a": torch.tensor([1.5, 2.0]), 3: numpy.float32(0.5), "p": Path("x"), "t": (1, None)}
    assert provenance.plain(value) == {"a": [1.5, 2.0], "3": 0.5, "p": "x", "t": [1, None]}
    assert provenance.strict_json([math.nan, math.inf, torch.tensor(math.nan)]) == "[null, null, null]"
    with pytest.raises(UsageError, match="a set cannot be written as JSON"):
        provenance.strict_json({"a": {1}})


def test_versions_and_machine_are_filled_in() -> None:
    versions = provenance.library_versions()
    assert versions["torch"] == torch.__version__
    assert versions["fuse_repro"]
    machine = provenance.machine("cpu")
    assert machine["cores"] >= 1
    assert machine["torch_threads"] == torch.get_num_threads()
    assert machine["device"] == machine["cpu"]


def test_the_commit_is_that_of_the_tracking_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "package" / "runs" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("first")
    monkeypatch.setattr(provenance, "__file__", str(module))

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert provenance.git_commit() is None
    git("init", "-q")
    assert provenance.git_commit() is None, "a file that the checkout does not track is not of that commit"
    git("add", "package")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert provenance.git_commit() == commit
    (tmp_path / "notes.txt").write_text("beside the code")
    assert provenance.git_commit() == commit
    module.write_text("second")
    assert provenance.git_commit() == f"{commit}-dirty"
