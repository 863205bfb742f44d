"""`sweep=NAME`: several named grids are joined, however they are listed."""

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType

from fuse_repro.errors import UsageError

KEY = "sweep="
LISTS = (ValueType.SIMPLE_CHOICE_SWEEP, ValueType.CHOICE_SWEEP)


def joined(arguments: Sequence[str]) -> list[str]:
    """The arguments with `sweep=A,B` as `sweep=[A,B]`.

    A grid says what is swept, so it is no value to sweep over itself: both forms join the grids.

    Raises:
        UsageError: for a `sweep=` of any other kind of several values, such as glob(*).
    """
    return [_joined(argument) if argument.startswith(KEY) else argument for argument in arguments]


def _joined(argument: str) -> str:
    override = OverridesParser.create().parse_override(argument)
    if override.value_type in LISTS:
        return f"{KEY}[{','.join(override.sweep_string_iterator())}]"
    if override.is_sweep_override():
        raise UsageError(f"{argument} is not allowed: give the names of grids, as sweep=A or sweep=A,B")
    return argument
