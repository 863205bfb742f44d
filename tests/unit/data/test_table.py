"""A user's own table: every format, columns, label words, splits, and what is left out with its reason."""

import csv
import json
import sys
import types
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuse_repro.data.prompt_task import SPLITS, Item, PromptTask, split_by_text
from fuse_repro.data.table import TableTask, facts_table
from fuse_repro.data.table_items import CONTRADICTED, REPEATED, WITHOUT_ANSWER, WITHOUT_TEXT
from fuse_repro.data.table_rows import cell_text, read_table
from fuse_repro.errors import UsageError

WORDS = {"good": "great", "bad": "terrible"}
TEMPLATE = "[X] It was [Y]."
ALL_TEST = {"train": 0.0, "dev": 0.0, "test": 1.0}
REVIEWS = [("A fine film", "good"), ("A dull film", "bad"), ("So, so; well", "good"), ('He said "no"', "bad")]


def write_csv(path: Path, rows: Sequence[Sequence[Any]], header: Sequence[str], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


def table(path: Path, **more: Any) -> PromptTask:
    chosen = {"text": "review", "label": "stars", "words": WORDS, "template": TEMPLATE, "splits": ALL_TEST}
    (task,) = TableTask(path=str(path), **(chosen | more)).tasks()
    return task


def found(task: PromptTask, split: str = "test") -> set[tuple[str, ...]]:
    return {(item.text, *item.right) for item in task.splits[split]}


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "my.csv", REVIEWS, ("review", "stars"))


EXPECTED = {(text, WORDS[label]) for text, label in REVIEWS}


def test_a_csv_with_columns_by_name(reviews: Path) -> None:
    task = table(reviews)
    assert found(task) == EXPECTED
    assert task.answers == ("great", "terrible")
    assert (task.name, task.template, task.multi_token) == ("my", TEMPLATE, "refuse")
    assert not any(task.dropped.values())


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    path = write_csv(tmp_path / "my.csv", REVIEWS, ("review", "stars"), delimiter)
    assert found(table(path, delimiter=delimiter)) == EXPECTED
    with pytest.raises(UsageError, match=r"set dataset.delimiter"):
        table(path)


def test_a_tsv_knows_no_quotes(tmp_path: Path) -> None:
    lines = ["stars\treview", *(f"{label}\t{text}" for text, label in REVIEWS)]
    (tmp_path / "my.tsv").write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    assert found(table(tmp_path / "my.tsv")) == EXPECTED


def test_json_lines_with_numbers_booleans_and_odd_separators(tmp_path: Path) -> None:
    rows = [{"t": "one\u2028line", "y": 1}, {"t": "two", "y": 0, "more": [1]}, {"t": "three", "y": 1.0}]
    path = tmp_path / "my.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    task = table(path, text="t", label="y", words={0: "bad", 1: "great"})
    assert found(task) == {("one\u2028line", "great"), ("two", "bad"), ("three", "great")}
    path.write_text('{"t": "a", "y": true}\n\n{"t": "b", "y": false}\n')
    assert found(table(path, text="t", label="y", words={True: "yes", False: "no"})) == {
        ("a", "yes"),
        ("b", "no"),
    }


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"review": [text for text, _ in REVIEWS], "stars": [label for _, label in REVIEWS]}
    parquet.write_table(arrow.table(columns), tmp_path / "my.parquet")
    assert found(table(tmp_path / "my.parquet")) == EXPECTED
    (tmp_path / "my.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"cannot be read .*: give a parquet file"):
        table(tmp_path / "my.parquet")


def test_parquet_by_a_reader_that_stands_for_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = [{"review": text, "stars": label} for text, label in REVIEWS]
    parquet = types.ModuleType("pyarrow.parquet")
    parquet.read_table = lambda path: types.SimpleNamespace(to_pylist=lambda: objects)  # type: ignore[attr-defined]
    arrow = types.ModuleType("pyarrow")
    arrow.parquet = parquet  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", arrow)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)
    (tmp_path / "my.parquet").touch()
    assert found(table(tmp_path / "my.parquet")) == EXPECTED
    with pytest.raises(UsageError, match=r"cannot be read .*No such file"):
        table(tmp_path / "other.parquet")


@pytest.mark.parametrize(
    ("module", "more", "said"),
    [
        (
            "pyarrow.parquet",
            {"path": "my.parquet"},
            r"needs pyarrow: pip install 'fuse_repro\[parquet\]', or save",
        ),
        (
            "datasets",
            {"path": None, "hub": "me/mine"},
            r"dataset.hub='me/mine' needs the datasets library: pip",
        ),
    ],
)
def test_a_missing_library_is_one_line(
    module: str, more: Mapping[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=said):
        TableTask(text="review", label="stars", words=WORDS, template=TEMPLATE, **more).tasks()


def test_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, subset: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((name, subset, split))
        if split == "nothing":
            raise ValueError("Unknown split\n'nothing'")
        return [{"sentence": f"{text} {split}", "label": int(label == "good")} for text, label in REVIEWS]

    fake = types.ModuleType("datasets")
    fake.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)
    chosen: dict[str, Any] = {
        "text": "sentence",
        "label": "label",
        "words": {0: "bad", 1: "great"},
        "template": TEMPLATE,
    }
    splits = {"train": "train", "dev": "validation", "test": "test"}
    (task,) = TableTask(hub="me/mine", subset="small", splits=splits, **chosen).tasks()
    assert sorted(asked) == [("me/mine", "small", name) for name in ("test", "train", "validation")]
    assert ("A fine film validation", "great") in found(task, "dev")
    (whole,) = TableTask(hub="me/mine", splits=ALL_TEST, **chosen).tasks()
    assert {text for text, _ in found(whole)} == {f"{text} train" for text, _ in REVIEWS}
    assert whole.name == "me_mine"
    with pytest.raises(UsageError, match=r"nothing.* cannot be loaded .*check the name") as raised:
        TableTask(hub="me/mine", splits={"test": "nothing"}, **chosen).tasks()
    assert "\n" not in str(raised.value)


def test_a_text_of_several_columns(tmp_path: Path) -> None:
    rows = [("Rain fell", "It was wet", "yes"), ("Sun shone", "It was dark", "no"), ("Fog", "", "no")]
    path = write_csv(tmp_path / "nli.csv", rows, ("premise", "the hypothesis", "stars"))
    pattern = "{premise}? {the hypothesis}"
    task = table(path, text=pattern, words={"yes": "Yes", "no": "No"})
    assert found(task) == {("Rain fell? It was wet", "Yes"), ("Sun shone? It was dark", "No")}
    assert task.dropped == {WITHOUT_TEXT: 1}
    with pytest.raises(
        UsageError, match=r"dataset.text='hypothesis' is not allowed: one of the columns of .*premise"
    ):
        table(path, text="{premise} {hypothesis}")


def test_free_answers_and_several_right_ones(tmp_path: Path) -> None:
    rows = [
        ("Switzerland", "German"),
        ("Switzerland", "French"),
        ("France", "French"),
        ("Belgium", "Dutch; French"),
    ]
    path = write_csv(tmp_path / "languages.csv", rows, ("country", "language"))
    facts = facts_table(
        "country", "language", path=str(path), template="In [X] they speak [Y].", splits=ALL_TEST
    )
    (one,) = facts.tasks()
    assert found(one) == {
        ("Switzerland", "German", "French"),
        ("France", "French"),
        ("Belgium", "Dutch; French"),
    }
    several = facts_table(
        "country", "language", path=str(path), template="[X] [Y]", splits=ALL_TEST, answer_separator=";"
    )
    (task,) = several.tasks()
    assert ("Belgium", "Dutch", "French") in found(task)
    assert task.answers == ("Dutch", "French", "German")
    path = tmp_path / "lists.jsonl"
    path.write_text('{"q": "Belgium", "a": ["Dutch", "French", "Dutch"]}\n{"q": "Oman", "a": []}\n')
    (listed,) = facts_table("q", "a", path=str(path), template="[X] [Y]", splits=ALL_TEST).tasks()
    assert found(listed) == {("Belgium", "Dutch", "French")}
    assert listed.dropped == {WITHOUT_ANSWER: 1}


def test_several_words_of_a_label_and_labels_left_out(reviews: Path) -> None:
    task = table(reviews, words={"good": ["great", "very  good"], "bad": None})
    assert task.answers == ("great", "very good")
    assert {right for _, *right in found(task) for right in right} == {"great", "very good"}
    assert task.dropped == {"labelled 'bad', which dataset.words leaves out": 2}


def test_labels_without_a_word_are_named_with_their_rows(reviews: Path) -> None:
    with pytest.raises(
        UsageError, match=r"labels without a word in dataset.words: 'bad' in 2 rows \(lines 3, 5\)"
    ):
        table(reviews, words={"good": "great"})
    with pytest.raises(UsageError, match=r"'good' in 2 rows \(lines 2, 4\); 'bad' in 2 rows"):
        table(reviews, words={"Good": "great", "Bad": "terrible"})


def test_what_is_left_out_is_counted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        *REVIEWS,
        REVIEWS[0],
        ("", "good"),
        ("No label", " "),
        ("Both", "good"),
        ("Both", "bad"),
        (" ", "bad"),
    ]
    path = write_csv(tmp_path / "my.csv", rows, ("review", "stars"))
    task = table(path)
    assert found(task) == EXPECTED
    assert task.dropped == {REPEATED: 1, WITHOUT_TEXT: 2, WITHOUT_ANSWER: 1, CONTRADICTED: 2}
    said = capsys.readouterr().err
    assert f"2 of 10 rows left out: {WITHOUT_TEXT} (lines 7, 11)" in said
    assert f"2 of 10 rows left out: {CONTRADICTED} (lines 9, 10)" in said
    assert said.count("\n") == 4


def test_splits_by_files_and_texts_that_stand_in_two(tmp_path: Path) -> None:
    parts = {"train": REVIEWS[:3], "dev": REVIEWS[2:], "test": REVIEWS[3:]}
    for split, rows in parts.items():
        write_csv(tmp_path / f"{split}.csv", rows, ("review", "stars"))
    files = {split: f"{split}.csv" for split in parts}
    task = table(tmp_path, splits=files)
    assert [len(task.splits[split]) for split in SPLITS] == [2, 1, 1]
    assert task.dropped == {"also in another split": 2}
    assert task.name == tmp_path.name
    alone = table(tmp_path, splits={"test": "train.csv"})
    assert [len(alone.splits[split]) for split in SPLITS] == [0, 0, 3]
    many = [(f"film number {number}", "good" if number % 2 else "bad") for number in range(100)]
    write_csv(tmp_path / "train.csv", many, ("review", "stars"))
    cut = table(tmp_path, splits={"train": "train.csv", "test": "test.csv"})
    assert 5 < len(cut.splits["dev"]) < 40
    assert len(cut.splits["train"]) + len(cut.splits["dev"]) == 100


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
ROWS = st.lists(st.tuples(TEXTS, st.sampled_from([*WORDS, ""])), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, quoted=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), mark=st.booleans())
def test_every_row_is_an_item_or_counted(
    rows: list[tuple[str, str]], quoted: int, mark: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever stands in a csv: its rows are items, or counted under a reason; a byte order mark is no part of it."""
    path, rows = tmp_path_factory.mktemp("odd") / "my.csv", [("a film that is always there", "good"), *rows]
    with path.open("w", encoding="utf-8-sig" if mark else "utf-8", newline="") as file:
        csv.writer(file, quoting=quoted, lineterminator="\n").writerows([("review", "stars"), *rows])
    task = table(path)
    items = task.splits["test"]
    assert len(items) + sum(task.dropped.values()) == sum(bool(text.strip() or label) for text, label in rows)
    answers = {(text.strip(), WORDS[label]) for text, label in rows if label}
    assert all(
        (item.text, item.answer) in {(cell_text(text), word) for text, word in answers} for item in items
    )


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.integers(0, 10**6), min_size=8, max_size=30, unique=True), seed=st.integers(0, 5))
def test_a_row_keeps_its_split_whatever_the_others_are(
    texts: list[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, shares = tmp_path_factory.mktemp("split"), {"train": 0.3, "dev": 0.2, "test": 0.5}
    text = "film {}".format
    candidates = (number for number in count(10**7))
    tested = next(n for n in candidates if split_by_text([Item(text(n), "")], shares, seed)["test"])

    def places(chosen: Sequence[int]) -> dict[str, str]:
        rows = [(text(number), "good") for number in (*chosen, tested)]
        task = table(write_csv(folder / "my.csv", rows, ("review", "stars")), splits=shares, seed=seed)
        return {item.text: split for split in SPLITS for item in task.splits[split]}

    whole, half = places(texts), places(texts[::2][::-1])
    assert {text: whole[text] for text in half} == half
    assert len(whole) == len(texts) + 1


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        ("", {}, "my.csv is empty: its first line must name the columns"),
        ("review,stars\n", {}, "my.csv holds no rows"),
        (
            "review,stars\n,good\n,bad\n",
            {},
            "the column 'review' is empty in all 2 rows: name another one with dataset",
        ),
        ("review,stars\na,\nb, \n", {}, "the column 'stars' is empty in all 2 rows"),
        ("review,review\na,b\n", {}, "every name in the first line once"),
        (
            "review,stars\na,b,good\nc,good\n",
            {},
            "my.csv, line 2: 3 cells, and the first line names 2 columns; so in 1 of 2",
        ),
        (
            "text,stars\na,good\n",
            {},
            "dataset.text='review' is not allowed: one of the columns of .*my.csv: text, stars",
        ),
        ("review,label\na,good\n", {}, "dataset.label='stars' is not allowed: one of the columns"),
        ("review;stars\na;good\n", {}, "the cells seem to stand between ';': set dataset.delimiter"),
        (
            b"review,stars\nCaf\xe9,good\n",
            {},
            "my.csv cannot be read .not UTF-8 text.: give a table .* saved as UTF-8",
        ),
        (
            "review,stars\na,good\n",
            {"words": {}},
            "dataset.words={} is not allowed: a map of every label to its word",
        ),
        (
            "review,stars\na,good\n",
            {"words": {"good": ""}},
            "dataset.words.good='' is not allowed: a word, or a list",
        ),
        (
            "review,stars\na,good\n",
            {"words": {"good": ["x", "y"], "bad": ["y"]}},
            "a word of one label; both 'good' and",
        ),
        (
            "review,stars\na,good\n",
            {"template": "[X] is"},
            "dataset.template='.X. is' is not allowed: a text with",
        ),
        (
            "review,stars\na,good\n",
            {"multi_token": "all"},
            "dataset.multi_token='all' is not allowed: one of drop",
        ),
        ("review,stars\na,good\n", {"splits": {"train": 0.5}}, "dataset.fractions=.* sum 1"),
        ("review,stars\na,good\n", {"splits": {"train": "my.csv"}}, "dataset.splits=.*: a file of test"),
        (
            "review,stars\na,good\n",
            {"splits": {"train": "a", "test": 1}},
            "dataset.splits=.*: shares .* or files",
        ),
        (
            "review,stars\na,good\n",
            {"splits": {"train": 1.0, "dev": 0.0, "test": 0.0}},
            "my has no test items",
        ),
        (
            "review,stars\na,good\n",
            {"limits": {"test": 0}},
            "dataset.limits.test=0 is not allowed: at least 1",
        ),
        ("review,stars\na,good\n", {"answer_separator": ""}, "dataset.answer_separator='' is not allowed"),
        (
            "review,stars\na,good\n",
            {"delimiter": "::"},
            "dataset.delimiter='::' is not allowed: one character",
        ),
        (
            "review,stars\na,good\n",
            {"hub": "me/mine"},
            "dataset.path=.* is not allowed: one of dataset.path=FILE",
        ),
    ],
)
def test_bad_input_is_one_clear_line(
    content: str | bytes, more: Mapping[str, Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "my.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=said) as raised:
        table(path, **more)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("my.txt", "", "dataset.path='.*my.txt' is not allowed: a file of .csv, .tsv, .jsonl, .parquet"),
        ("my.jsonl", '{"review": "a"', "my.jsonl, line 1: not JSON"),
        ("my.jsonl", "[1]\n", "line 1: .1. is no object: give one object a line"),
        ("my.jsonl", '{"review": ["a"], "stars": "good"}', "line 1: .'a'. in the column 'review' is no text"),
        ("my.csv", None, "my.csv cannot be read .No such file"),
    ],
)
def test_bad_files_are_one_clear_line(name: str, content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=said) as raised:
        table(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_nothing_to_read_is_one_clear_line() -> None:
    with pytest.raises(
        UsageError, match=r"dataset.path=None is not allowed: one of dataset.path=FILE, dataset.splits"
    ):
        TableTask(text="review", label="stars", words=WORDS, template=TEMPLATE)


def test_files_that_failed_elsewhere(shared_data: Path, tmp_path: Path) -> None:
    """Real SST-2, as it is: 872 rows, all of them items."""
    read = read_table(shared_data / "sst2" / "dev.tsv", None)
    assert read.columns == ("sentence", "label")
    task = table(
        shared_data / "sst2" / "dev.tsv", text="sentence", label="label", words={0: "bad", 1: "great"}
    )
    assert len(task.splits["test"]) + sum(task.dropped.values()) == len(read.rows) == 872
    assert isinstance(task.splits["test"][0], Item)


def test_a_field_of_any_length_and_line_feeds_inside_quotes(tmp_path: Path) -> None:
    long, folded = "x " * 70_000, "two\nlines"
    path = write_csv(tmp_path / "my.csv", [(long, "good"), (folded, "bad")], ("review", "stars"))
    assert found(table(path)) == {(long.strip(), "great"), (folded, "terrible")}
    path.write_text('review,stars\na,good\n"b,bad\nc,good\n')
    with pytest.raises(UsageError, match=r"my.csv, line 3: no CSV .a quote is opened and never closed"):
        table(path)
