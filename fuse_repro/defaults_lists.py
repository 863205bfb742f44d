"""What the defaults lists of the packaged experiments name, read without composing a config."""

from pathlib import Path


def entries(folder: Path, experiment: str) -> list[str]:
    """The groups that an experiment chooses from, as GROUP or GROUP@PLACE, each once.

    Args:
        folder: of the packaged configs.
        experiment: its name, such as `fuse/table1_coco`.

    Returns:
        The entries of its own defaults list and of the experiments that it builds on; none where it is not
        packaged.
    """
    from omegaconf import DictConfig, OmegaConf

    path = folder / "experiment" / f"{experiment}.yaml"
    if not path.is_file():
        return []
    found: dict[str, None] = {}
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig), f"{path} is no mapping"
    for item in config.get("defaults") or []:
        if not isinstance(item, str):
            found.update((str(key).removeprefix("override ").lstrip("/"), None) for key in item)
        elif item != "_self_":
            found.update(dict.fromkeys(entries(folder, _named(item, experiment))))
    return list(found)


def _named(item: str, experiment: str) -> str:
    """The experiment that an entry of another's defaults list stands for."""
    if item.startswith("/experiment/"):
        return item.removeprefix("/experiment/")
    return (Path(experiment).parent / item).as_posix()
