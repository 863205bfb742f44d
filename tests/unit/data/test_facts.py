"""The built-in facts: real, split by subject, the same in every process."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse_repro.data.facts import RELATIONS, GeographyFacts, clean
from fuse_repro.data.prompt_task import SPLITS, Item, PromptTask, split_by_text
from fuse_repro.errors import UsageError

ITEMS = (Item("France", "Paris"),)


@pytest.fixture(scope="module")
def tasks() -> dict[str, PromptTask]:
    return {task.name: task for task in GeographyFacts().tasks()}


@pytest.mark.parametrize(
    ("relation", "subject", "answer"),
    [
        ("P36", "France", "Paris"),
        ("P30", "Kenya", "Africa"),
        ("P38", "Japan", "yen"),
        ("P37", "Brazil", "Portuguese"),
        ("P17", "Tokyo", "Japan"),
    ],
)
def test_facts_are_true(tasks: dict[str, PromptTask], relation: str, subject: str, answer: str) -> None:
    items = [item for split in SPLITS for item in tasks[relation].splits[split]]
    assert Item(subject, answer) in items
    assert RELATIONS[relation].template.count("[X]") == 1


def test_every_relation_has_items_in_every_split(tasks: dict[str, PromptTask]) -> None:
    assert tuple(tasks) == tuple(RELATIONS)
    for task in tasks.values():
        sizes = [len(task.splits[split]) for split in SPLITS]
        assert min(sizes) >= 40
        assert 0.3 < sizes[0] / sum(sizes) < 0.5
        assert task.answers == tuple(sorted(task.answers))


def test_no_subject_is_in_two_splits_of_any_relation(tasks: dict[str, PromptTask]) -> None:
    owner: dict[str, str] = {}
    for name in ("P36", "P30", "P38", "P37"):
        for split in SPLITS:
            for item in tasks[name].splits[split]:
                assert owner.setdefault(item.text, split) == split
    assert set(Counter(owner.values())) == set(SPLITS)


def test_no_answer_can_be_read_off_its_subject(tasks: dict[str, PromptTask]) -> None:
    for task in tasks.values():
        for split in SPLITS:
            for item in task.splits[split]:
                assert item.answer.casefold() not in item.text.casefold()
    assert tasks["P36"].dropped["named in the subject"] > 10  # Mexico City, Panama, Singapore ...


def test_the_seed_decides_and_nothing_else(tasks: dict[str, PromptTask]) -> None:
    again = {task.name: task.digest for task in GeographyFacts(("P30", "P36")).tasks()}
    assert again == {name: tasks[name].digest for name in ("P30", "P36")}
    (other,) = GeographyFacts(("P36",), seed=1).tasks()
    assert other.digest != tasks["P36"].digest


def test_what_is_left_out_is_counted() -> None:
    facts = [
        ("France", "Paris"),
        ("Mexico", "Mexico City"),
        ("Oz", ""),
        ("X", "a"),
        ("X", "b"),
        ("São", "Sao 2"),
    ]
    items, dropped = clean(facts)
    assert items == [Item("France", "Paris")]
    assert dropped == {"without an answer": 1, "with several answers": 1, "named in the subject": 2}


@given(
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=3)), max_size=40),
    st.integers(0, 5),
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 4)),
)
def test_a_split_keeps_every_item_once_and_subjects_together(
    pairs: list[tuple[str, str]], seed: int, weights: tuple[int, int, int]
) -> None:
    items = [Item(*pair) for pair in pairs]
    fractions = {split: weight / sum(weights) for split, weight in zip(SPLITS, weights, strict=True)}
    splits = split_by_text(items, fractions, seed)
    assert Counter(item for chosen in splits.values() for item in chosen) == Counter(items)
    texts = [{item.text for item in splits[split]} for split in SPLITS]
    assert len(set.union(*texts)) == sum(map(len, texts))
    for split, fraction in fractions.items():
        assert fraction > 0 or not splits[split]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"relations": ("P36", "P99")},
            "dataset.relations='P99' is not allowed: one of P36, P30, P38, P37, P17",
        ),
        ({"relations": ()}, r"relations=\[\] is not allowed: at least one of P36"),
        ({"cities": 0}, "cities=0 is not allowed"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GeographyFacts(**arguments)


def test_fractions_sum_to_one() -> None:
    with pytest.raises(UsageError, match=r"fractions=.* none negative, sum 1"):
        GeographyFacts(fractions={"train": 0.5, "test": 0.4}).tasks()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"splits": {"train": ITEMS, "dev": (), "test": ()}, "dropped": {"odd": 3}},
            r"t has no test items \(3 odd\): check its data, or drop it",
        ),
        ({"answers": ("Paris", "Paris")}, r"t.answers=\['Paris'\] is not allowed: every word once"),
        ({"answers": ("Rome",)}, r"t: answers of items=\['Paris'\] is not allowed: one of the task's"),
        ({"template": "[X] is"}, r"t.template='\[X\] is' is not allowed: a text with \[X\] and \[Y\], once"),
        (
            {"splits": {"train": ITEMS, "dev": (), "test": ITEMS}},
            r"t: texts in two splits=\['France'\] is not allowed: in one split only",
        ),
        ({"splits": {"test": ITEMS}}, r"t.splits=\['test'\] is not allowed: train, dev, test"),
    ],
)
def test_an_impossible_task_is_refused(changes: dict, message: str) -> None:
    splits = {"train": (), "dev": (), "test": ITEMS}
    values = {"name": "t", "answers": ("Paris",), "splits": splits, "template": "[X] [Y]"} | changes
    with pytest.raises(UsageError, match=message):
        PromptTask(**values)
