"""Errors that a user can mend, which the command prints as a single line; and how a sweep says it is not done."""

LONGEST = 200  # characters of a value in a message


class UsageError(ValueError):
    """A value, file or combination that cannot be used.

    The message is one line: what was given, what is allowed, and how to mend it.
    """


class SweepIncomplete(Exception):
    """A sweep's command has ended, and some of its points are not done; each has its own status."""


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Check a value that a user gave.

    Args:
        condition: what must hold.
        name: of the value.
        value: what was given.
        allowed: what is allowed instead, and how to mend it.

    Raises:
        UsageError: `condition` does not hold; names `name`, `value` and what is `allowed`.
    """
    if not condition:
        raise UsageError(f"{name}={quoted(value)} is not allowed: {allowed}")


def quoted(value: object) -> str:
    """The value as messages show it, cut where it is long.

    >>> quoted("a" * 1000).endswith("aaa... (1002 characters)")
    True
    """
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of very many digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def first_line(error: BaseException) -> str:
    """The error as one line, for records and for the terminal."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UsageError) else f"{type(error).__name__}: {text}"
