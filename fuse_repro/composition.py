"""Hydra's loader of configs, for a process that composes many: files of the same choices are put together once."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

FILES = "file://"


@dataclass(frozen=True)
class _Composed:
    """What was put together.

    Attributes:
        config: of the choices, without the values that a command sets; never given away.
        files: that it was read from, with the time and the size of each.
    """

    config: DictConfig
    files: Mapping[Path, tuple[int, int] | None]


class _FilesOnce(CachingConfigRepository):
    """Hydra's memory of the files of one config, which here outlives it."""

    _memory: dict[tuple[str, ...], tuple[object, ConfigResult | None]] = {}  # noqa: RUF012 - of the process

    def load_config(self, config_path: str) -> ConfigResult | None:
        name = f"config_path={config_path}"
        if name not in self.cache:
            self.cache[name] = self._loaded(config_path)
        return self.cache[name]

    def _loaded(self, config_path: str) -> ConfigResult | None:
        source = next((source for source in self.get_sources() if source.is_config(config_path)), None)
        if source is None or source.scheme() not in ("file", "pkg"):
            return self.delegate.load_config(config_path)
        key = (source.scheme(), source.provider, os.path.realpath(source.path), config_path)
        stamp = _stamp(_file(source.path, config_path)) if source.scheme() == "file" else None
        if self._memory.get(key, (0,))[0] != stamp:
            self._memory[key] = stamp, self.delegate.load_config(config_path)
        return copy.deepcopy(self._memory[key][1])  # Hydra writes into it


class ChoiceLoader(ConfigLoaderImpl):
    """Hydra's loader, with a memory of the process.

    Which files make a config depends on a command's choices alone (`model=gpt2`), and to read them takes
    nearly all of the time; values (`seed=1`) are set afterwards. Points of a sweep that differ in values
    share what was read, and other choices share files. A file that has changed is read again.
    """

    _memory: dict[tuple[object, ...], _Composed] = {}  # noqa: RUF012 - loaders come and go

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed = OverridesParser.create().parse_overrides(overrides)
        self._read = _FilesOnce(self.repository)
        self._process_config_searchpath(config_name, parsed, self._read)
        return parsed, self._read

    def _load_configuration_impl(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        parsed, repository = self._parse_overrides_and_create_caching_repo(config_name, overrides)
        if validate_sweep_overrides:
            self.validate_sweep_overrides_legal(overrides=parsed, run_mode=run_mode, from_shell=from_shell)
        own = [override for override in parsed if not override.is_sweep_override()]
        choices = [override for override in own if _is_choice(override, repository)]
        config = self._of_choices(config_name, [str(choice.input_line) for choice in choices], run_mode)
        self._apply_overrides_to_config([override for override in own if override not in choices], config)
        _note(config, parsed)
        return config

    def _of_choices(self, config_name: str | None, choices: list[str], run_mode: RunMode) -> DictConfig:
        """The config of these choices without any value; every caller has a copy of its own."""
        sources = [(one.scheme(), os.path.realpath(one.path)) for one in self._read.get_sources()]
        key = (config_name, run_mode, JobRuntime.instance().get("name"), *choices, *sources)
        known = self._memory.get(key)
        if known is None or any(_stamp(path) != stamp for path, stamp in known.files.items()):
            config = super()._load_configuration_impl(config_name, choices, run_mode)
            self._memory[key] = known = _Composed(config, _files(self._read))
        return copy.deepcopy(known.config)


def _is_choice(override: Override, repository: CachingConfigRepository) -> bool:
    """Whether it has a say in which files are read, as Hydra decides it."""
    if override.get_key_element() == "hydra.searchpath":
        return True
    return not isinstance(override.value(), dict) and repository.group_exists(override.key_or_group)


def _files(repository: CachingConfigRepository) -> dict[Path, tuple[int, int] | None]:
    """The files that were read, as they are now."""
    read = {
        _file(result.path.removeprefix(FILES), key.partition("=")[2])
        for key, result in repository.cache.items()
        if result is not None and result.path.startswith(FILES)
    }
    return {path: _stamp(path) for path in read}


def _file(folder: str, config_path: str) -> Path:
    """The file of a config, which may be named without its ending."""
    return Path(folder, f"{config_path.removesuffix('.yaml')}.yaml")


def _stamp(path: Path) -> tuple[int, int] | None:
    """Time and size of a file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _note(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Write into `config.hydra` what the command was, as Hydra does in the end."""
    lists = config.hydra.overrides
    lists.hydra = [one.input_line for one in overrides if one.is_hydra_override()]
    lists.task = [one.input_line for one in overrides if not one.is_hydra_override()]
    with open_dict(config.hydra):
        for key in config.hydra.job.env_copy:
            config.hydra.job.env_set[key] = os.environ[key]
    config.hydra.runtime.cwd = str(Path.cwd())
    form = config.hydra.job.config.override_dirname
    config.hydra.job.override_dirname = get_overrides_dirname(
        overrides=[one for one in overrides if not one.is_hydra_override()],
        kv_sep=form.kv_sep,
        item_sep=form.item_sep,
        exclude_keys=form.exclude_keys,
    )
