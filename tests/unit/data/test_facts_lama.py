"""LAMA-TREx in both folder formats, and one clear line for each way in which a folder can be wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fuse_repro.data.lama import LamaFacts
from fuse_repro.data.prompt_task import Item
from fuse_repro.errors import UsageError

RELATION = {"relation": "P36", "template": "The capital of [X] is [Y] .", "label": "capital", "type": "1-1"}


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def fact(subject: str, answer: str) -> dict[str, str]:
    return {"sub_label": subject, "obj_label": answer, "uuid": "0"}


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """LAMA's own folder, without training facts."""
    (tmp_path / "TREx").mkdir()
    (tmp_path / "relations.jsonl").write_text(lines(RELATION, {**RELATION, "relation": "P30"}))
    (tmp_path / "common_vocab_cased.txt").write_text("Paris\nRome\nOslo\nBern\nParis\n")
    facts = [fact(f"land {number}", ("Paris", "Rome", "Oslo")[number % 3]) for number in range(60)]
    (tmp_path / "TREx" / "P36.jsonl").write_text(lines(*facts, fact("far land", "Ulan Bator"), facts[0]))
    return tmp_path


@pytest.fixture
def released(original: Path) -> Path:
    """The folder of the OptiPrompt release, with LPAQA's training facts."""
    for old, new in (
        ("TREx", "LAMA-TREx"),
        ("relations.jsonl", "relation_metainfo/LAMA_relations.jsonl"),
        ("common_vocab_cased.txt", "common_vocabs/common_vocab_cased.txt"),
    ):
        (original / new).parent.mkdir(exist_ok=True)
        (original / old).rename(original / new)
    (original / "lpaqa_train").mkdir()
    train = [fact(f"isle {number}", "Bern") for number in range(10)]
    more = [fact("land 3", "Rome"), fact("isle 3", "Nowhere")]
    (original / "lpaqa_train" / "P36.jsonl").write_text(lines(*train, *more))
    return original


def test_the_original_folder_is_split_by_subject(original: Path) -> None:
    (task,) = LamaFacts(original).tasks()
    assert (task.name, task.label, task.template) == ("P36", "capital", RELATION["template"])
    assert task.answers == ("Paris", "Rome", "Oslo", "Bern")
    assert sum(map(len, task.splits.values())) == 60
    assert min(map(len, task.splits.values())) > 3
    assert task.dropped == {"outside the common vocabulary": 1}


def test_training_facts_come_from_their_own_folder(released: Path) -> None:
    (task,) = LamaFacts(released, ["P36"]).tasks()
    assert (len(task.splits["train"]), len(task.splits["dev"]), len(task.splits["test"])) == (8, 2, 60)
    assert {item.answer for split in ("train", "dev") for item in task.splits[split]} == {"Bern"}
    assert task.dropped == {
        "outside the common vocabulary": 1,
        "training facts outside the common vocabulary": 1,
        "training facts about a test subject": 1,
    }


def test_fewer_items_where_asked_for(released: Path) -> None:
    (task,) = LamaFacts(released, max_train=5, max_test=7).tasks()
    assert (len(task.splits["train"]), len(task.splits["dev"]), len(task.splits["test"])) == (4, 1, 7)
    (same,) = LamaFacts(released, max_train=5, max_test=7).tasks()
    (other,) = LamaFacts(released, max_train=5, max_test=7, seed=1).tasks()
    assert same.digest == task.digest != other.digest
    (unsplit,) = LamaFacts(released, train="").tasks()
    assert len(unsplit.splits["test"]) < 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "relations.jsonl").unlink(), r"has no relation_metainfo/LAMA_relations.jsonl or rel"),
        (
            lambda f: (f / "common_vocab_cased.txt").unlink(),
            r"has no common_vocabs/common_vocab_cased.txt or",
        ),
        (lambda f: (f / "TREx" / "P36.jsonl").write_text("\n"), r"P36.jsonl holds no facts"),
        (
            lambda f: (f / "TREx" / "P36.jsonl").write_text(lines(fact("a", "Rome")) + "{"),
            r"line 2: not JSON",
        ),
        (
            lambda f: (f / "TREx" / "P36.jsonl").write_text(lines(fact("a", "Rome"), {"sub_label": "b"})),
            r"P36.jsonl, line 2: needs an object with text under sub_label and obj_label",
        ),
        (
            lambda f: (f / "TREx" / "P36.jsonl").write_bytes(
                b"\xff\xfe\0"
            ),  # a mark of UTF-16, and half a letter
            r"cannot be read .*: give a UTF-8 file",
        ),
        (
            lambda f: (f / "relations.jsonl").write_text(lines({**RELATION, "template": "none"})),
            r"relations.jsonl.template='none' is not allowed: a text with \[X\] and \[Y\]",
        ),
        (
            lambda f: (f / "TREx" / "P36.jsonl").write_text(lines(fact("a", "Atlantis"))),
            r"P36 has no test items \(1 outside the common vocabulary\)",
        ),
    ],
)
def test_a_wrong_folder_is_one_clear_line(change: Callable, message: str, original: Path) -> None:
    change(original)
    with pytest.raises(UsageError, match=message) as raised:
        LamaFacts(original).tasks()
    assert "\n" not in str(raised.value)


def test_what_is_asked_for_must_be_there(original: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"dataset.relations='P30' is not allowed: one with facts and a template: P36"
    ):
        LamaFacts(original, ["P30"]).tasks()
    with pytest.raises(UsageError, match="is no folder: give the folder of LAMA-TREx"):
        LamaFacts(tmp_path / "missing")
    with pytest.raises(UsageError, match="extra does not exist: name a file or folder inside"):
        LamaFacts(original, train="extra")


def test_the_real_data(shared_data: Path) -> None:
    tasks = LamaFacts(shared_data / "lama").tasks()
    assert len(tasks) == 41
    assert all(task.splits["train"] and task.splits["dev"] for task in tasks)
    assert all(len(task.answers) == 21018 for task in tasks)
    capitals = next(task for task in tasks if task.name == "P1376")
    assert Item("Tokyo", "Japan") in capitals.splits["test"]


def test_any_right_answer_of_a_subject_counts_if_asked_for(released: Path) -> None:
    """Of a fact with several right answers only one counted."""
    facts = [
        fact("Belgium", "Paris"),
        fact("Belgium", "Rome"),
        fact("Belgium", "Nowhere"),
        fact("Chad", "Oslo"),
    ]
    (released / "LAMA-TREx" / "P36.jsonl").write_text(lines(*facts))
    more = [fact("Belgium", "Bern"), fact("isle", "Bern"), fact("isle", "Rome")]
    (released / "lpaqa_train" / "P36.jsonl").write_text(lines(*more))
    (one,) = LamaFacts(released).tasks()
    (any_of,) = LamaFacts(released, answers="any").tasks()
    assert set(one.splits["test"]) == {
        Item("Belgium", "Paris"),
        Item("Belgium", "Rome"),
        Item("Chad", "Oslo"),
    }
    assert set(any_of.splits["test"]) == {
        Item("Belgium", "Paris", ("Rome", "Bern")),
        Item("Belgium", "Rome", ("Paris", "Bern")),
        Item("Chad", "Oslo"),
    }
    assert Item("isle", "Bern", ("Rome",)) in (*any_of.splits["train"], *any_of.splits["dev"])
    for split, items in one.splits.items():
        assert [(item.text, item.answer) for item in items] == [
            (item.text, item.answer) for item in any_of.splits[split]
        ]
    assert one.dropped == any_of.dropped
    assert one.digest != any_of.digest
    with pytest.raises(UsageError, match=r"^dataset\.answers='all' is not allowed: one of one, any$"):
        LamaFacts(released, answers="all")
