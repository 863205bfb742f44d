"""The text of mini models: facts stated as they are, the same in every process."""

from pathlib import Path

import pytest

from fuse_repro.data.common_answers import CommonAnswers
from fuse_repro.data.facts import GeographyFacts
from fuse_repro.data.mini_corpus import FRAMES, LOOSE, SENTENCES, WORDS_OF_TEXT, MiniCorpus, Statement, digest
from fuse_repro.errors import UsageError

SMALL = {"relations": ("P36", "P30"), "cities": 10, "fillers": 50}


def test_every_fact_is_stated_in_every_way_and_no_other_is() -> None:
    tasks = GeographyFacts(SMALL["relations"], cities=10).tasks()
    facts = [(item.text, item.answer) for task in tasks for items in task.splits.values() for item in items]
    statements = MiniCorpus(**SMALL).statements()
    ways = len(FRAMES) + len(SENTENCES["P36"]) + LOOSE
    assert len(statements) == ways * len(facts)
    for number, (subject, answer) in enumerate(facts):
        for statement in statements[number * ways : (number + 1) * ways]:
            assert statement.answer == answer
            assert subject in statement.before + statement.after
            assert "[" not in statement.text


def test_the_manual_templates_are_among_the_sentences() -> None:
    stated = {statement.text for statement in MiniCorpus(**SMALL).statements()}
    assert "The capital of France is Paris ." in stated or "The capital city of France is Paris ." in stated
    assert "France is located in the continent of Europe ." in stated


def test_another_seed_gives_other_statements() -> None:
    assert digest(MiniCorpus(**SMALL, seed=1).statements()) != digest(MiniCorpus(**SMALL).statements())


def test_answers_are_single_words() -> None:
    answers = MiniCorpus(**SMALL).answers()
    assert "Paris" in answers
    assert "Europe" in answers
    assert all(len(answer.split()) == 1 for answer in answers)


def test_real_text_is_cut_into_pieces(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{number}" for number in range(20)) + "\n\na <unk> b\n")
    pieces = MiniCorpus(**SMALL, text=[text]).statements()[-3:]
    assert [len(piece.before.split()) for piece in pieces] == [WORDS_OF_TEXT, 4, 2]
    assert pieces[-1] == Statement("a b", "", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"relations": ["P1"]}, "P36"),
        ({"text": "novel.txt"}, "a list of text files"),
        ({"fillers": 0}, "from 1 on"),
    ],
)
def test_settings_that_cannot_be_used(change: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        MiniCorpus(**(SMALL | change))


def test_a_missing_text_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.txt"):
        MiniCorpus(**SMALL, text=["nowhere.txt"]).statements()


def test_common_answers_are_those_of_all_tasks() -> None:
    own = GeographyFacts(("P30", "P37")).tasks()
    common = CommonAnswers(GeographyFacts(("P30", "P37"))).tasks()
    assert common[0].answers == common[1].answers
    assert set(common[0].answers) == {*own[0].answers, *own[1].answers}
    assert [task.splits for task in common] == [task.splits for task in own]
