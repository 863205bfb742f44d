"""From the overrides of a sweep to its points."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from fuse_repro.runs.provenance import config_hash, plain
from fuse_repro.sweeps.sweep import Point

LENGTH = 12  # hex digits of a hash in a name: no clash among millions of points


def last_overrides(
    params: Mapping[str, Any], arguments: Sequence[str], loader: ConfigLoader | None = None
) -> list[Override]:
    """What named grids (`params`) and the command (`arguments`) set: the last override of every key.

    Args:
        params: key -> values, as `hydra.sweeper.params` has them.
        arguments: the overrides of the command.
        loader: knows the options that glob() chooses from; None where the grid has no glob().
    """
    given = [*(f"{key}={value}" for key, value in params.items()), *arguments]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(given)
    return list({override.get_key_element(): override for override in overrides}.values())


def swept(config: DictConfig, loader: ConfigLoader | None = None) -> list[Override]:
    """The overrides of the command and of its named grids that ask for several values or for a search."""
    params = config.hydra.sweeper.get("params") or {}
    overrides = last_overrides(params, config.hydra.overrides.task, loader)
    return [override for override in overrides if override.is_sweep_override()]


def sweep_identity(config: DictConfig, loader: ConfigLoader | None = None) -> str:
    """Hash of the base config and the swept values; the order of neither counts."""
    base = OmegaConf.to_container(_without_hydra(config), resolve=False)
    grid = {override.get_key_element(): _values(override) for override in swept(config, loader)}
    return config_hash({**cast(dict, base), "grid": grid})[:LENGTH]


def compose_point(
    loader: ConfigLoader,
    base: DictConfig,
    overrides: Sequence[str],
    axes: Sequence[str],
    sweep_directory: Path,
) -> Point:
    """The point of these overrides.

    Hydra and OmegaConf raise their own errors for keys that do not exist and values of a wrong type.

    Args:
        loader: composes the config.
        base: the config of the sweep.
        overrides: of the point.
        axes: the swept keys.
        sweep_directory: where the point's run directory goes.
    """
    composed = loader.load_sweep_config(base, list(overrides))
    HydraConfig.instance().set_config(composed)
    config = cast(dict[str, Any], OmegaConf.to_container(_without_hydra(composed), resolve=True))
    identity = config_hash(config)[:LENGTH]
    directory = sweep_directory / identity
    config["output_dir"] = str(directory)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    own = {o.get_key_element(): plain(o.value()) for o in parsed}
    chosen: Mapping[str, Any] = {key.lstrip("+"): own[key] for key in axes if key in own}
    return Point(identity, directory, chosen, config)


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _values(override: Override) -> list[str]:
    if override.is_sweep_override() and override.is_discrete_sweep():
        return sorted(override.sweep_string_iterator())
    return [str(override.input_line)]
