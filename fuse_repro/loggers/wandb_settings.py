"""How wandb is used; checked before anything is loaded."""

from dataclasses import dataclass

from fuse_repro.errors import require
from fuse_repro.shown import shown

LONGEST_NAME, NO_NAME = 128, "/\\#?%:"  # as wandb has them
MODES = ("online", "offline", "disabled")


@dataclass(frozen=True)
class WandbSettings:
    """How a run is shown in wandb.

    Attributes:
        mode: online, offline or disabled.
        project: where the run is shown.
        entity: whose project it is; None is the user's default.
        group: what the run belongs to; None is its sweep.
        timeout_s: seconds to reach the server before the run goes on offline.
        upload_timeout_s: seconds for the upload's end; what is left stays on disk for `wandb sync`.
        curves: how many items have search curves of their own.
        images: how many photographs the table of captions shows.

    Raises:
        UsageError: an unknown mode, an empty project, or a number out of range.
    """

    mode: str = "online"
    project: str = "fuse_repro"
    entity: str | None = None
    group: str | None = None
    timeout_s: float = 15
    upload_timeout_s: float = 300
    curves: int = 8
    images: int = 200

    def __post_init__(self) -> None:
        require(self.mode in MODES, "logger.mode", self.mode, f"one of {', '.join(MODES)}")
        good = 0 < len(self.project) <= LONGEST_NAME and self.project == shown(self.project)
        allowed = f"a printable name of at most {LONGEST_NAME} characters without any of {NO_NAME}"
        require(good and not set(self.project) & set(NO_NAME), "logger.project", self.project, allowed)
        for name in ("entity", "group"):
            given = getattr(self, name)
            good = given is None or (0 < len(given) <= LONGEST_NAME and given == shown(given))
            allowed = f"null, or a printable name of at most {LONGEST_NAME} characters"
            require(good, f"logger.{name}", given, allowed)
        for name in ("timeout_s", "upload_timeout_s"):
            require(getattr(self, name) > 0, f"logger.{name}", getattr(self, name), "seconds, above 0")
        for name in ("curves", "images"):
            require(getattr(self, name) >= 0, f"logger.{name}", getattr(self, name), "at least 0")
