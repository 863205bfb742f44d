"""How many points become Slurm arrays, where one array may not hold them all."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Array:
    """Consecutive points that are submitted as one array.

    Attributes:
        begin: the number of its first point.
        end: the number after its last one.
        parallel: how many of its jobs run at once.
        after: the number of the array that must have ended before; None if it need not wait.
    """

    begin: int
    end: int
    parallel: int
    after: int | None = None


def cut(points: int, largest: int | None, parallel: int) -> list[Array]:
    """As few arrays as hold these points, with at most `parallel` of all their jobs at once.

    Arrays share that number evenly. Where there are more arrays than that, they wait for one another in so many rows.

    Args:
        points: how many, at least 1.
        largest: how many jobs an array may hold (Slurm's MaxArraySize; below 1 it allows no arrays, but single
            jobs); None for any number.
        parallel: at least 1.
    """
    size = points if largest is None else max(1, largest)
    begins = range(0, points, size)
    rows = min(len(begins), parallel)
    return [
        Array(begin, min(begin + size, points), parallel // rows, None if number < rows else number - rows)
        for number, begin in enumerate(begins)
    ]
