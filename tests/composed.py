"""The packaged configs, composed as the command does, files of the same choices read once by a process."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from fuse_repro import schema
from fuse_repro.composition import ChoiceLoader


@contextmanager
def packaged_hydra() -> Iterator[Hydra]:
    """Hydra with the packaged configs and the command's loader."""
    schema.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(schema.config_folder())):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        hydra.config_loader = ChoiceLoader(hydra.config_loader.get_search_path())
        yield hydra


def composed(*overrides: str, with_hydra: bool = False) -> DictConfig:
    """The config of a command with these overrides, with `config.hydra` if asked for."""
    with packaged_hydra():
        return compose("config", overrides=list(overrides), return_hydra_config=with_hydra)
