"""Shards: the parts of a data set that several runs share out among themselves."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fuse_repro.errors import require

T = TypeVar("T")
MOST = 1_000_000  # shards: more are a slip of the keyboard


@dataclass(frozen=True)
class Division:
    """How many parts a data set is cut into, and which of them a run works on.

    The names of all items are put into the order of their hashes, and this order is cut into equal pieces. So the order
    of the data set does not matter, the sizes of two shards differ by one item at the most, and where one item is added
    or taken away, at most `shards` - 1 of the others change their shard.

    Attributes:
        shards: how many parts; 1 is the whole data set.
        shard: which of them, counted from 0.

    Raises:
        UsageError: numbers out of range.
    """

    shards: int = 1
    shard: int = 0

    def __post_init__(self) -> None:
        require(
            _whole(self.shards) and 1 <= self.shards <= MOST,
            "dataset.shards",
            self.shards,
            f"a whole number from 1 to {MOST}",
        )
        allowed = f"a whole number from 0 to {self.shards - 1}, since dataset.shards={self.shards}"
        require(_whole(self.shard) and 0 <= self.shard < self.shards, "dataset.shard", self.shard, allowed)

    @property
    def is_whole(self) -> bool:
        """Whether the run works on the whole data set."""
        return self.shards == 1

    def part(self, items: Sequence[T], names: Sequence[str]) -> tuple[T, ...]:
        """The items of this shard, in the order of the data set.

        Args:
            items: all items of the data set.
            names: their names, each another one.

        Raises:
            UsageError: fewer items than shards.
        """
        if self.is_whole:
            return tuple(items)
        order = sorted(range(len(items)), key=lambda place: (_hash(names[place]), names[place]))
        return tuple(items[place] for place in sorted(order[self._piece(len(items))]))

    def size(self, count: int) -> int:
        """How many of `count` items belong to the shard. Raises UsageError as `part` does."""
        return len(range(count)[self._piece(count)])

    def _piece(self, count: int) -> slice:
        """The places of the shard in the order of the hashes."""
        allowed = f"at most {count}, the number of items, so that every shard has one"
        require(self.is_whole or self.shards <= count, "dataset.shards", self.shards, allowed)
        return slice(self.shard * count // self.shards, (self.shard + 1) * count // self.shards)

    def note(self, names: Sequence[str]) -> dict[str, Any] | None:
        """For the manifest: what belongs to this shard, and of which data set it is; None for a whole data set.

        Args:
            names: of all items, in the order of the data set.

        Returns:
            `items` has the place in the data set of every item of the shard; `total` is the number of all items, `data`
            a hash of their names.
        """
        if self.is_whole:
            return None
        own = self.part(range(len(names)), names)
        return {
            "shards": self.shards,
            "shard": self.shard,
            "total": len(names),
            "data": _hash("\n".join(names)),
            "items": {names[place]: place for place in own},
        }


KEYS = ("shards", "shard")  # of a config's dataset
SHARD_KEY = "dataset.shard"  # what is swept over


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Divisible:
    """A data set that a run may take a shard of.

    Attributes:
        division: which shard; set by whoever builds it.
    """

    division: Division = Division()
