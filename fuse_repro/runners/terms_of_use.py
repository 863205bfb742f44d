"""Models with terms of use that nobody has accepted yet: said before anything is loaded, with the key to set."""

from collections.abc import Iterator, Mapping
from typing import Any

from fuse_repro.errors import UsageError

PRIMARY = "lm"
Node = Mapping[str, Any]


def check_terms(config: Node) -> None:
    """Raise a UsageError that names the keys to set, if a run of this resolved config uses such a model."""
    if note := unaccepted(config):
        raise UsageError(note)


def unaccepted(config: Node) -> str | None:
    """What a run of this resolved config would be refused for; None if it uses no model of unaccepted terms.

    Models that stand in the config and are not used, such as those of terms of weight 0, need no consent.
    """
    models = config.get("models") or {}
    found = {
        path: node
        for role in sorted(used_roles(config) & set(models))
        for path, node in nodes_of(models[role], f"models.{role}")
        if node.get("accept_terms") is False
    }
    if not found:
        return None
    read = "; ".join(
        f"{path} is {node.get('name')}, which has terms of use: read {node.get('terms')}"
        for path, node in found.items()
    )
    accept = " ".join(f"{path}.accept_terms=true" for path in found)
    return f"{read}, then accept them by {accept}"


def used_roles(config: Node) -> set[str]:
    """The roles in `models` that the run uses: those that its runner, or a part of it, and its objective name."""
    roles = {PRIMARY}
    for _, term in nodes_of(config.get("objective"), "objective"):
        if term.get("weight") != 0:
            named = term.get("model")
            roles.update(map(str, named if isinstance(named, list) else [named]))
    for _, part in nodes_of(config.get("runner"), "runner"):
        for key in ("sources", "also", "unseen"):
            named = part.get(key)
            roles.update(map(str, named if isinstance(named, list) else []))
        roles.add(str(part.get("target")))
    return roles


def nodes_of(node: Any, path: str) -> Iterator[tuple[str, Node]]:
    """`node` and every mapping below it, each with its dotted path; nothing if `node` is no mapping."""
    if isinstance(node, Mapping):
        yield path, node
        for key, value in node.items():
            yield from nodes_of(value, f"{path}.{key}")
