"""Number formats that fit the machine."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fuse_repro import dtypes, schema

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("given", "memory", "taken"),
    [
        ("float32", 8 * GB, "bfloat16"),
        ("float32", 16 * GB - 1, "bfloat16"),
        ("float32", 16 * GB, "float32"),
        ("float16", 8 * GB, "float16"),
        ("bfloat16", 64 * GB, "bfloat16"),
        ("int4", 8 * GB, "int4"),  # refused where models are checked
    ],
)
def test_a_large_model_is_bfloat16_on_a_small_machine(
    monkeypatch: pytest.MonkeyPatch, given: str, memory: int, taken: str
) -> None:
    monkeypatch.setattr(dtypes, "memory_bytes", lambda: memory)
    schema.register()
    config = OmegaConf.create({"dtype": given, "model": {"dtype": "${dtype_for_memory:${dtype},16}"}})
    assert config.model.dtype == taken


def test_memory_is_that_of_the_machine_or_of_its_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dtypes, "CGROUPS", tmp_path / "none")
    physical = dtypes.memory_bytes()
    assert physical > 100_000_000
    (tmp_path / "memory.max").write_text("1000\n")
    monkeypatch.setattr(dtypes, "CGROUPS", tmp_path)
    assert dtypes.memory_bytes() == 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert dtypes.memory_bytes() == physical


def test_limits_of_outer_groups_hold_for_inner_ones(tmp_path: Path) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    (root / "job" / "step").mkdir(parents=True)
    (root / "job" / "memory.max").write_text("5000")
    (root / "job" / "step" / "memory.max").write_text("max")
    own.write_text("0::/job/step\n")
    assert min(dtypes._limits(root, own)) == 5000
    own.write_text("no groups")
    assert list(dtypes._limits(root, own)) == []
    (root / "memory").mkdir()
    (root / "memory" / "memory.limit_in_bytes").write_text("7000")  # the first version of groups
    assert list(dtypes._limits(root, own)) == [7000]
