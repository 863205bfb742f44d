"""Word corpora: deterministic, distinct, whitespace-free, and one-line errors."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fuse_repro.data.corpora import TextFileCorpus, WikiTextCorpus, WordfreqCorpus
from fuse_repro.errors import UsageError

CONF = Path(__file__).parents[3] / "conf" / "corpus"


def write(folder: Path, text: str, name: str = "text.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_wordfreq_gives_distinct_words_with_their_capitalised_forms() -> None:
    words = WordfreqCorpus(size=2000).words()
    assert words[:4] == ("the", "The", "to", "To")
    assert len(words) == len(set(words)) == 2000
    assert all(word.split() == [word] for word in words)
    lower = WordfreqCorpus(size=1000, cased=False).words()
    assert lower == tuple(word.lower() for word in lower)
    assert set(lower[:900]) < set(words)


def test_wordfreq_leaves_out_the_shapes_of_numbers() -> None:
    words = WordfreqCorpus(size=40000, cased=False).words()
    assert not [word for word in words if "00" in word]


def test_wordfreq_is_a_prefix_of_its_larger_self() -> None:
    assert WordfreqCorpus(size=500).words() == WordfreqCorpus(size=800).words()[:500]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"language": "xx"}, r"corpus.language='xx' is not allowed: wordfreq knows ar, bg"),
        ({"size": 0}, r"size=0 is not allowed: a whole number from 1 on"),
        ({"size": 10**7}, r"size=10000000 is not allowed: wordfreq has \d+ words of 'en'"),
    ],
)
def test_wordfreq_says_what_it_cannot_do(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WordfreqCorpus(**arguments).words()


def test_text_file_words_by_frequency_then_alphabet(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeffThe cat, the "cat" -- the Mat.\r\nU.S. ... mat? zoë\n')
    assert TextFileCorpus(path).words() == ("cat", "the", "Mat", "The", "U.S", "mat", "zoë")
    kept = TextFileCorpus(path, strip_punctuation=False).words()
    assert kept == ("the", '"cat"', "--", "...", "Mat.", "The", "U.S.", "cat,", "mat?", "zoë")
    more = write(tmp_path, "Mat Mat Mat", "more.txt")
    assert TextFileCorpus([path, more], size=2).words() == ("Mat", "cat")


@given(text=st.text())
def test_text_file_words_are_the_texts_words(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = write(tmp_path_factory.mktemp("corpus"), text + " word")
    words = TextFileCorpus(path, strip_punctuation=False).words()
    counts = Counter((text.lstrip("\ufeff") + " word").split())
    assert sorted(words) == sorted(counts)
    assert [counts[word] for word in words] == sorted(counts.values(), reverse=True)


def test_fingerprints_tell_corpora_apart(tmp_path: Path) -> None:
    texts = ["a b", "b a a", "a bb", "ab"]
    paths = [write(tmp_path, text, f"{number}.txt") for number, text in enumerate(texts)]
    fingerprints = [TextFileCorpus(path).fingerprint for path in paths]
    assert fingerprints[0] == fingerprints[1], "both list a, then b"
    assert len(set(fingerprints)) == 3


def test_text_files_that_cannot_be_used(tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes("café".encode("latin-1"))
    for path, message in [
        (tmp_path / "missing.txt", r"missing.txt' cannot be read \(No such file"),
        (tmp_path, r"cannot be read \(Is a directory\)"),
        (latin, r"latin.txt' is not UTF-8 text \(unexpected end of data\): convert it"),
        (write(tmp_path, " ... \n"), r"holds no words"),
    ]:
        with pytest.raises(UsageError, match=message):
            TextFileCorpus(path).words()
    with pytest.raises(UsageError, match=r"size=9 is not allowed: .* has 2 different words"):
        TextFileCorpus(write(tmp_path, "a b a"), size=9).words()
    with pytest.raises(UsageError, match="at least one text file"):
        TextFileCorpus([])


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="the hub extra is installed")
def test_wikitext_without_the_extra_names_it() -> None:
    with pytest.raises(UsageError, match=r"pip install 'fuse_repro\[hub\]', or use corpus=wordfreq"):
        WikiTextCorpus().words()


@pytest.mark.parametrize("name", ["wordfreq", "text_file", "wikitext"])
def test_every_corpus_config_instantiates(name: str, tmp_path: Path) -> None:
    config = OmegaConf.load(CONF / f"{name}.yaml")
    if OmegaConf.is_missing(config, "path"):
        config.path = str(write(tmp_path, "a few words"))
    corpus = instantiate(config)
    if name != "wikitext":
        assert len(corpus.words()) == (config.size or 3)
