"""What an item of somebody's own file may be called."""

from fuse_repro.errors import require


def item_id(value: object, where: str) -> str:
    """The `id` of a line as text. Raises UsageError unless it is a text that is not empty, or a whole number."""
    fits = (isinstance(value, str) and bool(value)) or (
        isinstance(value, int) and not isinstance(value, bool)
    )
    require(fits, f'{where}: "id"', value, "a text or a whole number")
    return str(value)
