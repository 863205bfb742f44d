"""A data set in shards: every item in one of them, equal sizes, and few moves when the data set changes."""

import random
from collections.abc import Sequence

import pytest

from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.data.several import SeveralTasks
from fuse_repro.data.shards import Division
from fuse_repro.data.task_data import PromptTaskData
from fuse_repro.data.texts import TextData
from fuse_repro.errors import UsageError

CASES = [(1, 1), (2, 2), (7, 3), (12, 5), (100, 8), (5000, 64)]


def shards_of(names: Sequence[str], shards: int) -> list[tuple[str, ...]]:
    return [Division(shards, shard).part(names, names) for shard in range(shards)]


@pytest.mark.parametrize(("count", "shards"), CASES)
def test_every_item_is_in_one_shard_and_sizes_differ_by_one_at_most(count: int, shards: int) -> None:
    names = [f"item {number}" for number in range(count)]
    parts = shards_of(names, shards)
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [len(part) for part in parts] == [Division(shards, shard).size(count) for shard in range(shards)]
    for part in parts:
        assert list(part) == [name for name in names if name in set(part)], "the order of the data set"


@pytest.mark.parametrize(("count", "shards"), CASES)
def test_the_order_of_the_data_set_does_not_matter(count: int, shards: int) -> None:
    names = [f"item {number}" for number in range(count)]
    other = random.Random(0).sample(names, count)
    assert [set(part) for part in shards_of(names, shards)] == [
        set(part) for part in shards_of(other, shards)
    ]


@pytest.mark.parametrize("count", [20, 21, 22, 100])
def test_another_item_moves_fewer_old_ones_than_there_are_shards(count: int) -> None:
    names, shards = [f"item {number}" for number in range(count)], 8
    before = {name: shard for shard, part in enumerate(shards_of(names, shards)) for name in part}
    for new in ("a", "b", "c", "d"):
        parts = shards_of([new, *names], shards)
        moved = [
            name for shard, part in enumerate(parts) for name in part if before.get(name, shard) != shard
        ]
        assert len(moved) < shards


def test_the_shards_of_two_settings_are_other_ones_but_always_the_same() -> None:
    names = [f"item {number}" for number in range(10)]
    assert shards_of(names, 3) == shards_of(names, 3)
    expected = {
        "shards": 3,
        "shard": 1,
        "total": 10,
        "items": {name: names.index(name) for name in shards_of(names, 3)[1]},
    }
    note = Division(3, 1).note(names)
    assert note is not None
    assert {key: value for key, value in note.items() if key != "data"} == expected
    assert note["data"] == Division(3, 2).note(names)["data"] != Division(3, 1).note(names[::-1])["data"]
    assert Division().note(names) is None
    assert Division().part(names, names) == tuple(names)


@pytest.mark.parametrize(
    ("shards", "shard", "said"),
    [
        (0, 0, "dataset.shards=0 is not allowed: a whole number from 1 to 1000000"),
        ("three", 0, "dataset.shards='three' is not allowed"),
        (True, 0, "dataset.shards=True is not allowed"),
        (3, 3, "dataset.shard=3 is not allowed: a whole number from 0 to 2, since dataset.shards=3"),
        (3, -1, "dataset.shard=-1 is not allowed"),
        (3, 1.0, "dataset.shard=1.0 is not allowed"),
        (1, 1, "dataset.shard=1 is not allowed: a whole number from 0 to 0"),
    ],
)
def test_a_shard_out_of_range(shards: int, shard: int, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Division(shards, shard)
    assert said in str(caught.value)


def test_more_shards_than_items() -> None:
    with pytest.raises(
        UsageError, match=r"^dataset\.shards=4 is not allowed: at most 3, the number of items"
    ):
        Division(4, 0).part("abc", "abc")
    with pytest.raises(
        UsageError, match=r"^dataset\.shards=4 is not allowed: at most 3, the number of items"
    ):
        Division(4, 0).size(3)


def test_a_limit_is_applied_before_the_shards_are_cut() -> None:
    texts = [f"text {number}" for number in range(9)]
    seen = []
    for shard in range(3):
        data = TextData(texts=texts, limit=5)
        data.division = Division(3, shard)
        seen += [item.id for item in data.predict_dataloader()]
        assert len(data.items) == 5, "the data set itself stays whole"
    assert sorted(seen) == ["1", "2", "3", "4", "5"]


class Tasks(PromptTaskData):
    """Tasks of these names."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        splits = {"train": (), "dev": (), "test": (Item("x", "a"),)}
        self._tasks = tuple(PromptTask(name, ("a",), splits, "[X] [Y]") for name in names)

    def tasks(self) -> tuple[PromptTask, ...]:
        return self._tasks


def test_a_shard_of_tasks_is_of_all_parts_together() -> None:
    seen = []
    for shard in range(2):
        data = SeveralTasks({"one": Tasks("a", "b"), "other": Tasks("c", "d")})
        data.division = Division(2, shard)
        own = data.own(data.tasks())
        assert [task.name for task in data.test_dataloader()] == [task.name for task in own]
        seen.append([task.name for task in own])
    assert sorted(name for names in seen for name in names) == ["a", "b", "c", "d"]
    assert [len(names) for names in seen] == [2, 2]
