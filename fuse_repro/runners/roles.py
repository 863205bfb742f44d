"""The roles of a run's models by what is done with them."""

from collections.abc import Iterable

UNSEEN = "unseen"  # what the roles of models begin with that a run asks in the end and uses for nothing else
PRIMARY = "lm"


def roles(kind: str, models: Iterable[str]) -> list[str]:
    """The roles of models that are `unseen`; or else all others, the primary model first."""
    names = [str(role) for role in models]
    unseen = [role for role in names if role.startswith(UNSEEN)]
    others = [role for role in names if role not in unseen]
    return unseen if kind == UNSEEN else sorted(others, key=lambda role: role != PRIMARY)
