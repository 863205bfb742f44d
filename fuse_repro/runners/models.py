"""Settings of models that are wrong whatever the weights, found before the first model is loaded."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from hydra.utils import get_object

from fuse_repro.dtypes import WEIGHTS
from fuse_repro.errors import UsageError, require
from fuse_repro.runners.build import blamed
from fuse_repro.runners.terms_of_use import nodes_of, used_roles
from fuse_repro.weights.sources import check_source

SOURCE = ("wheel", "hub", "path")
LEAST = {"count": 1, "limit": 1, "reviews": 0, "top": 1, "cities": 1, "fillers": 0}


def check_models(config: Mapping[str, Any]) -> None:
    """Check the models that a run uses, and those that are parts of them.

    Args:
        config: of the run, resolved.

    Raises:
        UsageError: a dtype, source, folder, pooling or number that there is not.
    """
    models = config.get("models") or {}
    for role in sorted(used_roles(config) & set(models)):
        for key, node in nodes_of(models[role], f"models.{role}"):
            _check_model(key, node)


def _check_settings(key: str, node: Mapping[str, Any]) -> None:
    """Make a node that is nothing but settings, which checks them."""
    if "_target_" not in node:
        return
    try:
        made = get_object(node["_target_"])
    except Exception:  # making the model says what is wrong with it
        return
    if isinstance(made, type) and is_dataclass(made):
        try:
            made(**{name: value for name, value in node.items() if not name.startswith("_")})
        except UsageError as error:
            raise blamed(error, key) from error
        except TypeError as error:
            raise UsageError(f"{key} cannot be used: {error}") from error


def _check_pooling(key: str, pooling: object) -> None:
    from fuse_repro.models.text_encoder import TextEncoder  # loads torch and transformers

    known = TextEncoder.poolings
    require(pooling in known, key, pooling, f"one of {', '.join(known)}")


def _check_model(key: str, node: Mapping[str, Any]) -> None:
    dtype = node.get("dtype", WEIGHTS[0])
    require(dtype in WEIGHTS, f"{key}.dtype", dtype, f"one of {', '.join(WEIGHTS)}")
    for name, least in LEAST.items():
        value = node.get(name)
        require(value is None or value >= least, f"{key}.{name}", value, f"at least {least}")
    penalty = node.get("penalty", 1.0)
    require(penalty > 0, f"{key}.penalty", penalty, "above 0")
    if "pooling" in node:
        _check_pooling(f"{key}.pooling", node["pooling"])
    _check_settings(key, node)
    if "source" in node:
        check_source(key, node["source"], **{name: node.get(name) for name in SOURCE})
