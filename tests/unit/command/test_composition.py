"""Configs whose files are read once are those that Hydra composes, for the command and for its sweeps."""

from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import Container, DictConfig, OmegaConf

from fuse_repro import composition, schema
from fuse_repro.composition import ChoiceLoader

CAPTION, TRANSFER = "experiment=caption", "experiment=transfer"


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    schema.register()
    monkeypatch.setattr(composition, "_FilesOnce", type("Files", (composition._FilesOnce,), {"_memory": {}}))
    monkeypatch.setattr(ChoiceLoader, "_memory", {})


def loader(kind: type[ConfigLoaderImpl], folder: Path | None = None) -> ConfigLoaderImpl:
    return kind(create_config_search_path(str(folder or schema.config_folder())))


def outcome(loader: ConfigLoader, overrides: list[str], mode: RunMode = RunMode.RUN) -> Any:
    """The config, or the error."""
    try:
        return loader.load_configuration("config", overrides, mode)
    except HydraException as error:
        return f"{type(error).__name__}: {error}"


def nodes(node: Any) -> list[object]:
    """What every node is: value, types, flags, and whether it may be null."""
    own = node._metadata
    flags = {name: flag for name, flag in (own.flags or {}).items() if flag is not None}
    found = [(node._key(), type(node), own.object_type, own.ref_type, own.optional, sorted(flags.items()))]
    if not isinstance(node, Container):
        return [*found, node._value()]
    if node._is_none() or node._is_missing() or node._is_interpolation():
        return [*found, node._value()]
    keys = list(node.keys()) if isinstance(node, DictConfig) else range(len(node))
    return [*found, *(inner for key in keys for inner in nodes(node._get_node(key)))]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ([CAPTION, "seed=1"], [CAPTION, "seed=2", "+models.lm.extra={a: 1}", "~runner.metrics"]),
        (
            [TRANSFER, "optimizer.m=3", "trainer=cpu"],
            ["optimizer.m=4", TRANSFER, "hydra.job.env_copy=[HOME]", "trainer=cpu"],
        ),
        ([CAPTION, "model@models.lm=gpt2"], [CAPTION, "model@models.lm=gpt2", "models.lm.source=path"]),
        ([CAPTION], [CAPTION, "hydra.launcher.workers=2", "hydra.job.name=other"]),
    ],
)
def test_the_second_config_is_hydras_own(first: list[str], then: list[str]) -> None:
    ours = loader(ChoiceLoader)
    outcome(ours, first)
    found, wanted = outcome(ours, then), outcome(loader(ConfigLoaderImpl), then)
    assert nodes(found) == nodes(wanted)
    assert len(ChoiceLoader._memory) == 1, "both are of the same choices"


def test_other_choices_share_the_files_that_both_have() -> None:
    ours, hydras = loader(ChoiceLoader), loader(ConfigLoaderImpl)
    for choices in ([CAPTION], [CAPTION, "adapter=ridge"], [TRANSFER], [TRANSFER, "logger=none"]):
        assert nodes(outcome(ours, choices)) == nodes(outcome(hydras, choices))
    assert len(ChoiceLoader._memory) == 4


def test_sweeps_are_composed_as_by_hydra() -> None:
    ours, hydras = loader(ChoiceLoader), loader(ConfigLoaderImpl)
    sweep = ["experiment=caption,transfer", "seed=0,1"]
    found, wanted = (outcome(one, sweep, RunMode.MULTIRUN) for one in (ours, hydras))
    assert nodes(found) == nodes(wanted)
    for point in ([CAPTION, "seed=0"], [CAPTION, "seed=1"], [TRANSFER, "seed=1"]):
        assert nodes(ours.load_sweep_config(found, point)) == nodes(hydras.load_sweep_config(wanted, point))


@pytest.mark.parametrize(
    "wrong",
    [
        [CAPTION, "seed=one"],
        [CAPTION, "sede=1"],
        [CAPTION, "seed=1,2"],
        [CAPTION, "model=gpt2"],
        [CAPTION, "adapter=none_such"],
        [CAPTION, "adapter@x=ridge"],
        [CAPTION, "adapter={a: 1}"],
        [CAPTION, "+adapter=ridge"],
        [CAPTION, "++adapter=ridge"],
        [CAPTION, "~adapter=ridge"],
        [CAPTION, "hydra.searchpath=here"],
        ["seed=1"],
        ["hydra.job.env_copy=1", CAPTION],
    ],
    ids=" ".join,
)
def test_mistakes_are_hydras_own(wrong: list[str]) -> None:
    ours = loader(ChoiceLoader)
    outcome(ours, [CAPTION])
    found, wanted = outcome(ours, wrong), outcome(loader(ConfigLoaderImpl), wrong)
    assert isinstance(found, str) or OmegaConf.is_config(found)
    assert found == wanted


def test_who_gets_a_config_may_change_it() -> None:
    ours = loader(ChoiceLoader)
    outcome(ours, [CAPTION]).models.lm.name = "mine"
    assert outcome(ours, [CAPTION]).models.lm.name == "smollm2_135m"


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    own = tmp_path / "adapter" / "own.yaml"
    own.parent.mkdir()
    own.write_text("a: 1\n")
    choices = [f"hydra.searchpath=[file://{tmp_path}]", CAPTION, "adapter=own"]
    ours = loader(ChoiceLoader)
    assert outcome(ours, choices).adapter == {"a": 1}
    own.write_text("a: 2\nb: 3\n")
    assert outcome(ours, choices).adapter == {"a": 2, "b": 3}
    own.write_text("a: 2\nb: 3\nc: 4\n")
    assert outcome(ours, [*choices, "logger=none"]).adapter == {"a": 2, "b": 3, "c": 4}, "other choices"
    own.unlink()
    assert "Could not find 'adapter/own'" in outcome(ours, choices)
