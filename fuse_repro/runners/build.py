"""From a config node to the object that it names, with a user's mistake as one line."""

import inspect
import re
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from fuse_repro.data.shards import KEYS, Divisible, Division
from fuse_repro.errors import UsageError, require

if TYPE_CHECKING:
    from fuse_repro.adapters import EmbeddingMap  # noqa: F401  (named in a type alias)

Fit = partial["EmbeddingMap"]
NAME = re.compile(r"[\w.]+")  # of a value in a message
SHARED = ("cache_dir",)  # parts have it from the top of the config


def build(node: DictConfig, *arguments: Any, **more: Any) -> Any:
    """Instantiate a config node; a user's mistake comes out as the UsageError that it is."""
    try:
        return instantiate(node, *arguments, **more)
    except MissingMandatoryValue as error:
        raise UsageError(f"{error.full_key} has no value: give it one with {error.full_key}=...") from error
    except InstantiationException as error:
        if str(error).startswith(("Error locating target", "Expected a callable target")):
            raise UsageError(_no_target(error)) from error
        at = _full_key(error) or _key_of(node)
        if isinstance(error.__cause__, UsageError):
            raise blamed(error.__cause__, at) from error
        if isinstance(error.__cause__, TypeError):
            raise UsageError(
                f"{at}: {node.get('_target_')} cannot be made from these values: {error.__cause__}"
            ) from error
        raise


def build_data(node: DictConfig | None) -> Any:
    """The data set that a node of conf/dataset names, cut to the shard that its `shards` and `shard` ask for.

    Raises:
        UsageError: settings that cannot be used, or a shard of a data set that cannot be cut.
    """
    own, division = split_division(node)
    data = build(own)
    if not division.is_whole:
        kinds = "1: its class is no PhotoData, TextData or PromptTaskData of fuse_repro.data"
        require(isinstance(data, Divisible), "dataset.shards", division.shards, kinds)
        data.division = division
    return data


def split_division(node: DictConfig | None) -> tuple[DictConfig, Division]:
    """The node of a data set without the keys of the shard, and what these say. Raises UsageError for no data set."""
    values = {} if node is None else cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    require("_target_" in values, "dataset", values, "one of conf/dataset, such as dataset=photos")
    division = Division(**{key: values.pop(key) for key in KEYS if key in values})
    return DictConfig(values, key="dataset"), division


def located(target: str, key: str) -> Any:
    """The class or function of this name; `key` is where the config names it.

    Raises:
        UsageError: if it cannot be imported, or is nothing that can be called.
    """
    return build(DictConfig({"_target_": target, "_partial_": True}, key=key)).func


def blamed(error: UsageError, key: str) -> UsageError:
    """The error with the whole key of the value that it names.

    A part calls its values `limit` or `dataset.limit`, wherever in the config its node stands.

    Args:
        error: begins with the name of a value and an equals sign; any other is given back as it is.
        key: where the part's node stands, as "dataset.parts.facts"; empty where nobody knows.
    """
    name, equals, rest = str(error).partition("=")
    if not (equals and key and NAME.fullmatch(name)) or name in SHARED or name.startswith(f"{key}."):
        return error
    return UsageError(f"{key}.{name.partition('.')[2] or name}={rest}")


def _full_key(error: InstantiationException) -> str | None:
    """Where the node stands that Hydra could not make; None where it does not say."""
    found = re.search(r"^full_key: (\S+)", str(error), re.MULTILINE)
    return None if found is None else found[1]


def _key_of(node: Any) -> str:
    return str(node._get_full_key(None)) if isinstance(node, DictConfig) else ""


def _no_target(error: InstantiationException) -> str:
    """One line about a `_target_` that is no class or function: its key, where Hydra knows it, and the reason."""
    key = _full_key(error)
    named = re.search(r"'([^']*)'", str(error))
    target = f"{key}._target_" if key else "_target_"
    reason = " ".join(str(error.__cause__ or "it cannot be called").split())
    return (
        f"{target}={named[1] if named else None} cannot be used ({reason}): give the full name of a class or function; "
        "a file of your own must be on PYTHONPATH"
    )


def build_fit(node: DictConfig) -> Fit:
    """The fit of the map that a node of conf/adapter names, with its settings, which are checked.

    Args:
        node: `_target_` is the `fit` of a map's class, the other keys its settings.

    Returns:
        Called with source, target and words, and `cache_dir=`, it gives the fitted map.

    Raises:
        UsageError: a key that the fit does not have, or a value out of range.
    """
    fit: Fit = build(node, _partial_=True)
    check = getattr(map_class(fit), "check", None)
    try:
        if check is not None:
            check(**fit.keywords)
        inspect.signature(fit.func).bind("source", "target", "words", cache_dir=None, **fit.keywords)
    except TypeError as error:
        raise UsageError(
            f"{_key_of(node)}: {node.get('_target_')} cannot fit a map with these values: {error}"
        ) from error
    except UsageError as error:
        raise blamed(error, _key_of(node)) from error
    return fit


def map_class(fit: Fit) -> Any:
    """The class whose `fit` it is; the function itself where it is of no class."""
    return getattr(fit.func, "__self__", fit.func)
