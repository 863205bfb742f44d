"""Parts by the names that the command knows them by, made from the packaged configs, so that defaults are the same."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.build import Fit, build, build_fit, map_class
from fuse_repro.runners.local_models import with_models_dir
from fuse_repro.schema import config_folder, register_resolvers

Adapter = str | EmbeddingMap | Callable[..., EmbeddingMap]
Folder = str | Path


def load_model(
    name: str,
    *,
    models_dir: Folder | None = None,
    cache_dir: Folder | None = None,
    dtype: str = "float32",
    accept_terms: bool = False,
) -> FrozenModel:
    """A model that the command knows by name, such as smollm2_135m; downloaded at first use, and kept.

    Args:
        name: a file of conf/model, without its ending.
        models_dir: read the model from the folder `models_dir`/NAME instead.
        cache_dir: where weights are kept; None is FUSE_REPRO_CACHE or ~/.cache/fuse_repro.
        dtype: float32, bfloat16 or float16.
        accept_terms: that you have read and accept the terms of a model that has its own.

    Raises:
        UsageError: no such model, terms not accepted, or anything wrong with the source or the files.
    """
    config = packaged({"model@models.lm": name}, cache_dir=cache_dir, models_dir=models_dir, dtype=dtype)
    node = with_models_dir(config).models.lm
    if accept_terms and "accept_terms" in node:
        node.accept_terms = True
    model: FrozenModel = build(node)
    return model


def packaged(
    groups: Mapping[str, str],
    *,
    cache_dir: Folder | None = None,
    models_dir: Folder | None = None,
    dtype: str = "float32",
    seed: int = 0,
) -> DictConfig:
    """The configs of some parts, with the values that the command takes by default.

    Args:
        groups: group of conf/, with @PACKAGE where it goes elsewhere -> name of the option.
        cache_dir: of the root config.
        models_dir: of the root config.
        dtype: of the root config.
        seed: of the root config.

    Raises:
        UsageError: a name that a group does not have.
    """
    for group, name in groups.items():
        options = sorted(path.stem for path in (config_folder() / group.partition("@")[0]).glob("*.yaml"))
        require(name in options, group.partition("@")[0], name, f"one of {', '.join(options)}")
    root = {
        "cache_dir": None if cache_dir is None else str(cache_dir),
        "models_dir": None if models_dir is None else str(models_dir),
        "dtype": dtype,
        "seed": seed,
    }
    overrides = [f"+{group}={name}" for group, name in groups.items()]
    register_resolvers()
    with _apart(), initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        config = compose(None, overrides=[*overrides, *(f"+{key}=null" for key in root)])
    for key, value in root.items():
        OmegaConf.update(config, key, value)
    return config


def fit_of(adapter: Adapter, seed: int) -> Fit | None:
    """What fits a map; None for a map that is fitted already.

    Args:
        adapter: the name of a map, a map, or the `fit` of a map's class, with settings as a `functools.partial`.
        seed: of a named map's random choices.

    Raises:
        UsageError: a name that there is not, or settings out of range.
    """
    if isinstance(adapter, EmbeddingMap):
        return None
    if isinstance(adapter, str):
        return build_fit(packaged({"adapter": adapter}, seed=seed).adapter)
    require(
        callable(adapter), "adapter", adapter, "a name such as 'ridge', a map, or the fit of a map's class"
    )
    fit = adapter if isinstance(adapter, partial) else partial(adapter)
    check = getattr(map_class(fit), "check", None)
    if check is not None:
        check(**fit.keywords)
    return fit


def given_map(adapter: Adapter, sources: Sequence[FrozenModel], target: FrozenModel) -> EmbeddingMap:
    """The map that was given. Raises UsageError where it is of other models."""
    assert isinstance(adapter, EmbeddingMap)
    own = [*getattr(adapter, "sources", [adapter.source]), adapter.target]
    same = [one.fingerprint for one in own] == [one.fingerprint for one in (*sources, target)]
    wanted = " -> ".join(one.name for one in (*sources, target))
    require(same, "adapter", " -> ".join(one.name for one in own), f"a map of {wanted}; or leave it out")
    return adapter


def words_of(words: Sequence[str] | None) -> Sequence[str]:
    """The words that maps are fitted on: these, or the command's, the most frequent ones of English."""
    if words is not None:
        return words
    found: Sequence[str] = build(packaged({"corpus": "wordfreq"}).corpus).words()
    return found


@contextmanager
def _apart() -> Iterator[None]:
    """Lets Hydra compose here although the user's program may be a Hydra application that is running."""
    running, base = GlobalHydra.instance().hydra, VersionBase.instance().version_base
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = running
        VersionBase.instance().version_base = base
