"""How wandb is used; found out and checked before anything is loaded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fuse_repro.errors import require
from fuse_repro.shown import shown

LONGEST_NAME, NO_NAME = 128, "/\\#?%:"  # as wandb has them
MODES = ("online", "offline", "disabled")
ALSO_CALLED = {"run": "online", "dryrun": "offline"}  # modes as older versions of wandb name them
VARIABLES = {
    "mode": "WANDB_MODE",
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "group": "WANDB_RUN_GROUP",
    "name": "WANDB_NAME",
    "dir": "WANDB_DIR",
}
DEFAULTS = {"mode": "online", "project": "fuse_repro"}


@dataclass(frozen=True)
class WandbSettings:
    """How a run is shown in wandb. Where one of the first six is None, wandb's environment variable counts.

    Attributes:
        mode: online, offline or disabled; WANDB_MODE, else online.
        project: where the run is shown; WANDB_PROJECT, else fuse_repro.
        entity: whose project it is; WANDB_ENTITY, else the user's default.
        group: what the run belongs to; WANDB_RUN_GROUP, else its sweep.
        name: of the run; WANDB_NAME, else its place in the sweep, or its directory.
        dir: below which wandb keeps its files; WANDB_DIR, else the run directory.
        timeout_s: seconds to reach the server before the run goes on offline.
        upload_timeout_s: seconds for the upload's end; what is left stays on disk for `wandb sync`.
        curves: how many items have search curves of their own.
        images: how many photographs the table of captions shows.

    Raises:
        UsageError: an unknown mode, an empty name, an entity that no server has, or a number out of range.
    """

    mode: str | None = None
    project: str | None = None
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    dir: str | None = None
    timeout_s: float = 15
    upload_timeout_s: float = 300
    curves: int = 8
    images: int = 200

    def __post_init__(self) -> None:
        allowed = f"one of {', '.join(MODES)}"
        require(self.mode is None or self.mode in MODES, "logger.mode", self.mode, allowed)
        for name in ("project", "group", "name", "dir"):
            given = getattr(self, name)
            allowed = f"null, or a printable name of at most {LONGEST_NAME} characters"
            require(given is None or bool(given.strip()), f"logger.{name}", given, allowed)
        check_entity("logger.entity", self.entity)
        for name in ("timeout_s", "upload_timeout_s"):
            require(getattr(self, name) > 0, f"logger.{name}", getattr(self, name), "seconds, above 0")
        for name in ("curves", "images"):
            require(getattr(self, name) >= 0, f"logger.{name}", getattr(self, name), "at least 0")


def settled(given: WandbSettings, environment: Mapping[str, str]) -> tuple[WandbSettings, list[str]]:
    """What counts: what was given, else what wandb's environment variables say, else the defaults.

    Args:
        given: None in it is what nobody has set.
        environment: variables; one that is empty says nothing.

    Returns:
        The settings, with names that wandb takes, and a line on every name that was mended for that.

    Raises:
        UsageError: a mode or an entity in the environment that there is not.
    """
    said = {name: value for name, key in VARIABLES.items() if (value := environment.get(key, "").strip())}
    if "mode" in said:
        said["mode"] = ALSO_CALLED.get(said["mode"], said["mode"])
        allowed = f"one of {', '.join(MODES)}; or say logger.mode"
        require(given.mode is not None or said["mode"] in MODES, VARIABLES["mode"], said["mode"], allowed)
    if given.entity is None:
        check_entity(VARIABLES["entity"], said.get("entity"))
    values: dict[str, Any] = {
        field.name: getattr(given, field.name) or said.get(field.name) or DEFAULTS.get(field.name)
        for field in fields(given)
        if field.name in VARIABLES
    }
    lines = []
    for name, forbidden in (("project", NO_NAME), ("group", ""), ("name", "")):
        value = values[name]
        if value is not None and (mended := mended_name(value, forbidden)) != value:
            values[name] = mended
            lines.append(f"takes no {name} called {shown(value)[:200]!r}: it is called {mended!r} there")
    return replace(given, **values), lines


def mended_name(name: str, forbidden: str = "") -> str:
    """The name as wandb takes it: printable, cut where it is long, and a dash for what is forbidden.

    >>> mended_name("me/my project", "/")
    'me-my project'
    """
    printable = shown(name)
    if forbidden:
        printable = re.sub(f"[{re.escape(forbidden)}]", "-", printable)
    return printable[:LONGEST_NAME].strip() or DEFAULTS["project"]


def check_entity(key: str, entity: str | None) -> None:
    """Raise UsageError for a user or team that no server has: a mended one would be somebody else."""
    good = entity is None or (0 < len(entity) <= LONGEST_NAME and entity == shown(entity))
    require(good, key, entity, f"null, or a printable name of at most {LONGEST_NAME} characters")
