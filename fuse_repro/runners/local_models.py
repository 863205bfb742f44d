"""`models_dir=FOLDER`: every model from one folder, whatever its config says."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

from omegaconf import DictConfig


def with_models_dir(config: DictConfig) -> DictConfig:
    """The config whose models are all read from `models_dir`/NAME; the same config where `models_dir` is null."""
    if config.get("models_dir") is None:
        return config
    changed = deepcopy(config)
    folder = Path(config.models_dir).expanduser().absolute()
    for node in _models(changed.models):
        node.source, node.path = "path", str(folder / node.name)
    return changed


def _models(node: DictConfig) -> Iterator[DictConfig]:
    """Every config of a model below `node`, also one that is part of another."""
    if "source" in node and "path" in node:
        yield node
    for value in node.values():
        if isinstance(value, DictConfig):
            yield from _models(value)
