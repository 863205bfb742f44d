"""What the docs say is what runs: every documented command composes, sweeps at every point; nothing is run."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from composed import packaged_hydra
from documented import ROOT, Documented, documented
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fuse_repro.cli import main
from fuse_repro.sweeps.compose import compose_point, last_overrides
from fuse_repro.sweeps.grid import grid_points
from fuse_repro.sweeps.named_grids import joined
from fuse_repro.sweeps.optuna_search import first_point, search_space

COMMANDS = documented()
LEAST = {"README.md": 15, "docs": 45, "benchmarks/README.md": 1, "benchmarks": 9, "--help": 9}
NOT_COMPOSED = re.compile(r"^(dry_run|models_dir|hydra|output_dir)\b|^(dataset|task)\.path=")
WHOLE, NUMBER = re.compile(r"=-?\d+$"), re.compile(r"=-?(\d+\.\d*|\.\d+)(e[+-]?\d+)?$")


@pytest.fixture(scope="module")
def hydra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hydra]:
    """Hydra with the packaged configs."""
    with packaged_hydra() as hydra:
        yield hydra
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="module")
def my_conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of configs that docs/extending.md makes."""
    folder = tmp_path_factory.mktemp("reader")
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for text in re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL):
        path = folder / text.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "my_conf"


@pytest.fixture(scope="module")
def composed() -> set[tuple[str, ...]]:
    """Points that are known to compose: those that differ in paths or in numbers alone, such as seeds, share them."""
    return set()


def test_the_commands_of_every_file_are_found() -> None:
    found = Counter(
        place if place in LEAST else place.split("/")[0]
        for place in (command.place.split(":")[0] for command in COMMANDS)
    )
    assert set(found) == set(LEAST)
    few = {group: found[group] for group, least in LEAST.items() if found[group] < least}
    assert not few, "fewer commands than there must be: has the docs' form changed?"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_it_composes(
    command: Documented,
    hydra: Hydra,
    my_conf: Path,
    composed: set[tuple[str, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *_ = command.arguments
    if first in ("report", "status", "merge", "cache", "calibrate", "doctor", "--help"):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv(
            "FUSE_REPRO_CACHE", str(tmp_path / "cache")
        )  # none: nothing of the reader's is touched
        assert main(command.arguments) in (0, 2), (
            "2: there is no such directory here; a SystemExit: not parsed"
        )
        return
    flags = get_args_parser().parse_args(list(command.arguments))
    overrides = joined(flags.overrides) if flags.multirun else flags.overrides
    if flags.config_dir:
        overrides = [*overrides, f"hydra.searchpath=[file://{my_conf}]"]
    mode = RunMode.MULTIRUN if flags.multirun else RunMode.RUN
    config = hydra.compose_config("config", overrides, run_mode=mode)
    if not flags.multirun:
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        OmegaConf.to_container(own, resolve=True)
        return
    axes = [o.get_key_element() for o in last_overrides({}, overrides) if o.is_sweep_override()]
    for point in _points(hydra, config, overrides):
        key = tuple(sorted(_kind(override) for override in point if not NOT_COMPOSED.search(override)))
        if key not in composed:
            compose_point(hydra.config_loader, config, point, axes, tmp_path)
            composed.add(key)


def _kind(override: str) -> str:
    """The override with a number's kind for the number: no config is chosen by one, and a schema asks for the kind."""
    return NUMBER.sub("=<number>", WHOLE.sub("=<whole number>", override))


def _points(hydra: Hydra, config: DictConfig, overrides: list[str]) -> list[list[str]]:
    """Every point of a grid; of a search one."""
    params = config.hydra.sweeper.params
    if config.hydra.runtime.choices["hydra/sweeper"] == "grid":
        return grid_points(params, overrides, hydra.config_loader)
    pytest.importorskip("optuna")
    return [first_point(*search_space(params, overrides, hydra.config_loader))]
