"""Values of another kind than their settings take, found in the config before anything is built or loaded.

What a setting takes is what the function or class that its node names is annotated with: a whole number, a number,
text, true or false, a list. Which of these values make sense, the part itself says when it is made.
"""

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from fuse_repro.errors import require
from fuse_repro.runs.provenance import check_seed

LARGEST = 1e30  # of a number that is computed with in single precision, whose own largest is 3.4e38
LARGEST_WHOLE = 2**63 - 1
MISSING = "???"  # OmegaConf's mark of a value that the command has to give; making the part says so
NAMES = {
    int: "a whole number",
    float: f"a number up to {LARGEST:g}",
    bool: "true or false",
    str: "text",
    Path: "a path",
    NoneType: "null",
}
LISTS, TABLES = (list, tuple, Sequence, Collection), (dict, Mapping)


def check_values(config: DictConfig) -> None:
    """Check every value of every node of a run's config that names what it makes.

    Raises:
        UsageError: the first value of another kind than its setting takes.
    """
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    for key, node in _targets(values, ""):
        for name, hint in _hints(node["_target_"]).items():
            if name in node:
                check_value(f"{key}.{name}", node[name], hint)
                if name == "seed":
                    check_seed(f"{key}.{name}", node[name])


def check_settings(key: str, node: DictConfig, settings: type) -> None:
    """Check the values of a node by the annotations of a class.

    Args:
        key: where the node stands in the config, as "runner".
        node: the values.
        settings: is annotated with what they are.

    Raises:
        UsageError: the first value of another kind than its setting takes.
    """
    values = OmegaConf.to_container(node, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    for name, hint in get_type_hints(settings).items():
        if name in values:
            check_value(f"{key}.{name}", values[name], hint)


def check_value(key: str, value: Any, hint: Any) -> None:
    """Raise UsageError if a setting of this annotation does not take the value.

    Annotations other than of numbers, text, truth values, lists and tables of these, and null, take everything.
    """
    options = _options(hint)
    if value == MISSING or any(_takes(value, option) for option in options):
        return
    for option in options:
        inner = get_args(option)[1:2] if get_origin(option) in TABLES else ()
        for name, one in value.items() if isinstance(value, dict) and inner else ():
            check_value(f"{key}.{name}", one, inner[0])
    allowed = " or ".join(dict.fromkeys(map(_name, options)))
    if isinstance(value, float) and int in options and value.is_integer() and abs(value) <= LARGEST_WHOLE:
        allowed += f", such as {int(value)}"
    if isinstance(value, int | float) and str in options and abs(value) <= LARGEST:
        allowed += f", such as \"'{value}'\" in quotes"
    require(False, key, value, allowed)


def _options(hint: Any) -> Sequence[Any]:
    if get_origin(hint) in (Union, UnionType):
        return get_args(hint)
    return (hint,)


def _takes(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_WHOLE
    if origin is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= LARGEST
    if origin is Literal:
        return value in inner
    if origin is Path:
        return isinstance(value, str)
    if origin in (str, bool, NoneType):
        return isinstance(value, origin)
    if origin in LISTS:
        return isinstance(value, list) and _take_all(value, inner[:1])
    if origin in TABLES:
        return isinstance(value, dict) and _take_all(list(value.values()), inner[1:2])
    free = origin in (Any, object) or not isinstance(origin, type)
    return free or isinstance(value, dict | list)  # a part, or several, which have nodes of their own


def _take_all(values: Sequence[Any], hints: Sequence[Any]) -> bool:
    return all(any(_takes(value, option) for option in _options(hint)) for hint in hints for value in values)


def _name(hint: Any) -> str:
    """What an annotation is called in messages."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in LISTS or origin in TABLES:
        of = [_name(option) for one in inner[:1] if origin in LISTS for option in _options(one)]
        kind = "a list" if origin in LISTS else "values by name"
        return f"{kind}, each {' or '.join(of)}" if of else kind
    return NAMES.get(origin, f"a {getattr(origin, '__name__', origin)}, which _target_ names")


def _targets(node: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping in a config that names what it makes, with its dotted key."""
    if isinstance(node, list):
        for number, value in enumerate(node):
            yield from _targets(value, f"{key}[{number}]")
    elif isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield key, node
        for name, value in node.items():
            yield from _targets(value, f"{key}.{name}" if key else str(name))


@cache
def _hints(target: str) -> Mapping[str, Any]:
    """Argument -> annotation of what a `_target_` names; empty where it cannot be found, which making it says."""
    try:
        made = get_object(target)
        return get_type_hints(inspect.getattr_static(made, "__init__") if isinstance(made, type) else made)
    except Exception:
        return {}
