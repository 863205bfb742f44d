"""Texts and tables as people have them: encodings, line ends, quotes, first lines; each kind by examples at random."""

import codecs
import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from fuse_repro.data.classification import TextClassification
from fuse_repro.data.csv_rows import csv_rows
from fuse_repro.data.label_columns import Columns, columns_of
from fuse_repro.data.texts import TextData
from fuse_repro.errors import UsageError
from fuse_repro.storage.reading import json_lines, open_text, read_text, text_lines

MARKED = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
ODD = some.sampled_from("\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e\u00a0\u3000\ufeff")
LETTERS = some.characters(exclude_categories=("Cs",), exclude_characters="\0\r\n\ufeff")
PIECES = some.lists(some.one_of(LETTERS, ODD), min_size=1, max_size=12).map("".join)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def encoded(text: str, encoding: str) -> bytes:
    return MARKED[encoding] + text.encode(encoding)


@QUICK
@given(text=PIECES, encoding=some.sampled_from(sorted(MARKED)), end=some.sampled_from(["", "\n", "\r\n"]))
def test_a_mark_says_the_encoding_and_is_no_part_of_the_text(
    text: str, encoding: str, end: str, tmp_path: Path
) -> None:
    text = "a" + text + end
    path = tmp_path / "a.txt"
    path.write_bytes(encoded(text, encoding))
    assert read_text(path, UsageError) == text
    with open_text(path) as lines:
        assert "".join(lines) == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_another_encoding_without_its_mark_is_said(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("A cat.\n".encode(encoding))
    with pytest.raises(UsageError, match=r"without a byte order mark; save it as UTF-8"):
        read_text(path, UsageError)
    path.write_bytes(codecs.BOM_UTF16_LE + b"a")
    with pytest.raises(UsageError, match=r"^not UTF-16 text$"):
        read_text(path, UsageError)


@QUICK
@given(texts=some.lists(PIECES, min_size=1, max_size=6), end=some.sampled_from(["\n", "\r\n"]))
def test_json_lines_are_cut_at_line_feeds_alone(texts: list[str], end: str) -> None:
    content = end.join(json.dumps({"text": text}, ensure_ascii=False) for text in texts) + end
    found = list(json_lines(content, lambda number, why: UsageError(f"{number}: {why}")))
    assert found == [(number, {"text": text}) for number, text in enumerate(texts, start=1)]


@QUICK
@given(lines=some.lists(PIECES, min_size=2, max_size=6), end=some.sampled_from(["\n", "\r\n", "\r"]))
def test_lines_end_alike_however_they_end(lines: list[str], end: str) -> None:
    assert text_lines(end.join(lines) + end) == lines
    assert text_lines(end.join(lines)) == lines


def test_no_text_has_no_lines() -> None:
    assert text_lines("") == []
    assert text_lines("\n") == [""]


CELLS = some.lists(some.one_of(LETTERS, ODD, some.sampled_from('",\n')), max_size=12).map("".join)


@QUICK
@given(
    rows=some.lists(some.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=5),
    quoting=some.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=some.sampled_from(["\n", "\r\n"]),
)
def test_what_a_csv_writer_writes_is_read_back(rows: list[list[str]], quoting: int, end: str) -> None:
    sink = io.StringIO()
    csv.writer(sink, quoting=quoting, lineterminator=end).writerows(rows)  # type: ignore[arg-type]
    text = sink.getvalue()
    found = list(csv_rows(Path("a.csv"), text_lines(text)))
    assert [row for _, row in found] == rows
    assert [number for number, _ in found][-1] == len(text_lines(text))
    cut = list(csv_rows(Path("a.csv"), text.removesuffix("\n").split("\n")))
    assert [[cell.replace("\r\n", "\n") for cell in row] for _, row in cut] == rows


@QUICK
@given(
    before=some.lists(PIECES.filter(lambda text: '"' not in text), max_size=3),
    after=some.lists(PIECES.filter(lambda text: '"' not in text), max_size=3),
    quoted=some.booleans(),
)
def test_an_unclosed_quote_is_an_error_with_its_line(
    before: list[str], after: list[str], quoted: bool
) -> None:
    """It took all rows below it into its field, without a word."""
    good = (lambda text: f'"1","{text}"') if quoted else (lambda text: f"1,{text.replace(',', '')}")
    lines = [*map(good, before), '"1","never closed', *map(good, after)]
    with pytest.raises(UsageError, match=rf"^a\.csv, line {len(before) + 1}: no CSV \(") as caught:
        list(csv_rows(Path("a.csv"), lines))
    assert "\n" not in str(caught.value)
    assert "close every quote" in str(caught.value)


def test_a_macintosh_csv_has_rows() -> None:
    assert [row for _, row in csv_rows(Path("a.csv"), ['1,a\r2,"b, c"\r'])] == [["1", "a"], ["2", "b, c"], []]
    assert [row for _, row in csv_rows(Path("a.csv"), ["1,a\r"])] == [["1", "a"]]


def news(folder: Path, name: str, content: bytes) -> dict[str, str]:
    """Text -> label word of the file, read as the test split."""
    other = {"train": "1,a train text\n", "dev": "1,a dev text\n"}
    for split, text in other.items():
        (folder / f"{split}.csv").write_text(text)
    (folder / name).write_bytes(content)
    files = {"train": "train.csv", "dev": "dev.csv", "test": name}
    (task,) = TextClassification("news", folder, files, ["one", "two", "three"], "[X] [Y]").tasks()
    return {item.text: item.answer for item in task.splits["test"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("kaggle.csv", "Class Index,Title,Description\n3,Oil,rises\n1,War,ends\n"),
        ("plain.csv", '"3","Oil","rises"\n"1","War","ends"\n'),
        ("text_first.csv", "title,text,Label\nOil,rises,3\nWar,ends,1\n"),
        ("pandas.csv", ",label,text\n0,3,Oil rises\n1,1,War ends\n"),
        ("glue.tsv", "sentence\tlabel\nOil rises\t2\nWar ends\t0\n"),
        ("label_first.tsv", "label\tsentence\n2\tOil\trises\n0\tWar ends\n"),
        ("numbered.tsv", "index\tsentence\tlabel\n0\tOil rises\t2\n1\tWar ends\t0\n"),
        ("none.tsv", "Oil rises\t2\nWar ends\t0\n"),
        ("tabs.tsv", "sentence\tlabel\nOil\trises\t2\nWar ends\t0\n"),
        ("blank.csv", "\n3,Oil,rises\n\n , \n1,War,ends\n\n\n"),
        ("blank.tsv", "\nsentence\tlabel\nOil rises\t2\n \n\nWar ends\t0\n\n"),
        ("macintosh.csv", "label,text\r3,Oil rises\r1,War ends\r"),
        ("dos.tsv", "sentence\tlabel\r\nOil rises\t2\r\nWar ends\t0\r\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le"])
def test_the_first_lines_of_the_usual_downloads(
    name: str, content: str, encoding: str, tmp_path: Path
) -> None:
    assert news(tmp_path, name, encoded(content, encoding)) == {"Oil rises": "three", "War ends": "one"}


def test_a_row_that_looks_like_a_header_is_data(tmp_path: Path) -> None:
    content = b'"1","Topic","a word"\n"2","label","text"\n'
    assert news(tmp_path, "a.csv", content) == {"Topic a word": "one", "label text": "two"}
    assert columns_of(["label", "0"]) is None
    assert columns_of(["label", "class", "text"]) is None
    assert columns_of(["label"]) is None
    assert columns_of([]) is None
    assert columns_of([" Label ", "text", "id"]) == Columns(0, (1,), 3)


def test_a_row_with_other_cells_than_the_header_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.csv, line 3: 2 cells, and the first line names 3$"):
        news(tmp_path, "a.csv", b"label,title,text\n1,a,b\n2,c\n")
    with pytest.raises(UsageError, match=r"a\.csv, line 2: no CSV \(a quote is opened and never closed\)"):
        news(tmp_path, "a.csv", b'1,a\n2,"c\n3,d\n')


def test_a_text_file_of_any_kind_gives_the_same_texts(tmp_path: Path) -> None:
    for encoding in MARKED:
        for end in ("\n", "\r\n", "\r"):
            path = tmp_path / "texts.txt"
            path.write_bytes(encoded(end.join(("A cat.", "", "Zwei Hunde.")), encoding))
            assert [item.texts for item in TextData(path).items] == [("A cat.",), ("Zwei Hunde.",)]
