"""SST-2, DBpedia and AG News with their label words."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from fuse_repro.data.classification import TextClassification
from fuse_repro.data.prompt_task import Item
from fuse_repro.errors import UsageError

CONF = Path(__file__).parents[3] / "conf" / "dataset"
FILES = {"train": "train.tsv", "dev": "dev.tsv", "test": "test.csv"}
HEADER = "sentence\tlabel\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.tsv").write_text(f"{HEADER}a  fine film \t1\na dull film\t0\nshared\t1\n")
    (tmp_path / "dev.tsv").write_text(f"{HEADER}fine\t1\nshared\t1\n")
    (tmp_path / "test.csv").write_text('"2","dull, ""very"" dull"\n"1","bright"\n')
    return tmp_path


def make(folder: Path, **changes: object) -> TextClassification:
    values = {"files": FILES, "words": ["bad", "great"], "template": "[X] It was [Y] ."} | changes
    return TextClassification("demo", folder, **values)  # type: ignore[arg-type]


def test_labels_become_words(folder: Path) -> None:
    (task,) = make(folder, csv_order=[1, 0]).tasks()
    assert set(task.splits["train"]) == {Item("a fine film", "great"), Item("a dull film", "bad")}
    assert set(task.splits["dev"]) == {Item("fine", "great"), Item("shared", "great")}
    assert set(task.splits["test"]) == {Item('dull, "very" dull', "bad"), Item("bright", "great")}
    assert task.dropped == {"also in another split": 1}
    (plain,) = make(folder).tasks()
    assert Item("bright", "bad") in plain.splits["test"]


def test_limits_take_the_same_items_again(folder: Path) -> None:
    (one,) = make(folder, limits={"test": 1}).tasks()
    (again,) = make(folder, limits={"test": 1}).tasks()
    assert len(one.splits["test"]) == 1
    assert one.digest == again.digest


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.tsv", f"{HEADER}no label\n", r"train.tsv, line 2: needs a text, a tab and a label"),
        (
            "train.tsv",
            f"{HEADER}a\t0\nb\t2\n",
            r"train.tsv, line 3: label '2' has no word: labels go from 0 to 1",
        ),
        ("train.tsv", f"{HEADER} \t1\n", r"train.tsv, line 2: the text is empty"),
        ("test.csv", '"1"\n', r"test.csv, line 1: needs a label and a text, in quotes"),
        ("test.csv", '"0","a"\n', r"test.csv, line 1: label '0' has no word: labels go from 1 to 2"),
        ("test.csv", "", r"demo has no test items"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        make(folder).tasks()


def test_missing_files_and_odd_settings_are_refused(folder: Path) -> None:
    (folder / "dev.tsv").unlink()
    with pytest.raises(UsageError, match=r"dev.tsv cannot be read"):
        make(folder).tasks()
    with pytest.raises(UsageError, match=r"dataset.path=.* is not allowed: a folder that exists"):
        make(folder / "missing")
    with pytest.raises(UsageError, match=r"dataset.files=\['test'\] is not allowed"):
        make(folder, files={"test": "test.csv"})
    with pytest.raises(
        UsageError, match=r"dataset.csv_order=\[0, 0\] is not allowed: each class number once"
    ):
        make(folder, csv_order=[0, 0])
    with pytest.raises(UsageError, match=r"dataset.files.test=.*a .tsv or .csv file"):
        make(folder, files={**FILES, "test": "test.txt"}).tasks()


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("sst2", 2, {"uneasy mishmash of styles and genres .": "bad"}),
        ("agnews", 4, {"Fears for T N pension": "business"}),
        (
            "dbpedia",
            14,
            {
                "Thomas E. Breitenbach": "artist",
                "Brežani is a village": "village",
                "Kennedy Francis Burns": "politician",
            },
        ),
    ],
)
def test_the_real_data(name: str, classes: int, expected: dict[str, str], shared_data: Path) -> None:
    config = OmegaConf.load(CONF / f"{name}.yaml")
    (task,) = instantiate(config, path=str(shared_data / name), seed=0).tasks()
    assert len(task.answers) == classes
    assert {item.answer for item in task.splits["train"]} == set(task.answers)
    repeated = sum(task.dropped.values())
    assert repeated < 5
    assert len(task.splits["train"]) + len(task.splits["dev"]) >= 32 * classes - repeated
    found = {text: i.answer for i in task.splits["test"] for text in expected if i.text.startswith(text)}
    assert found == expected
