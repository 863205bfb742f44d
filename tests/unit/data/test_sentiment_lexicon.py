"""Labelled texts for the sentiment head."""

from collections import Counter
from pathlib import Path

import pytest

from fuse_repro.data.sentiment_lexicon import labelled_file, lexicon_examples, polarities
from fuse_repro.errors import UsageError

WORDS = {"great": 0.8, "moving": 0.4, "beautiful": 0.9, "terrible": -1.0, "boring": -0.6, "long": 0.0}
NOUNS = ("cat", "table", "kite")


def test_sentences_carry_the_label_of_their_words() -> None:
    examples = lexicon_examples(WORDS, NOUNS, count=300)
    assert examples == lexicon_examples(WORDS, NOUNS, count=300)
    assert examples != lexicon_examples(WORDS, NOUNS, count=300, seed=1)
    assert Counter(label for _, label in examples)["neutral"] == 300
    signs = {"positive": 1, "negative": -1, "neutral": 0}
    for text, label in examples:
        values = [WORDS[word] for word in text.split() if word in WORDS]
        negated = any(word in text for word in ("not ", "n't ", "never "))
        turned = values[1:] if ", but " in text else values
        assert {(value > 0) - (value < 0) for value in turned} <= {signs[label] * (-1 if negated else 1)}
    assert sum(", but " in text for text, _ in examples) > 30
    assert {("great", "positive"), ("boring", "negative")} <= set(examples)


def test_a_file_of_labelled_texts(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("sentence\tlabel\na great film \t1\nboring\tand long\t0\n")
    assert labelled_file(path) == [("a great film", "positive"), ("boring\tand long", "negative")]
    assert len(labelled_file(path, limit=1)) == 1
    path.write_text("sentence\tlabel\nno label\n")
    with pytest.raises(UsageError, match="'no label' is no text TAB 0 or 1"):
        labelled_file(path)
    path.write_text("sentence\tlabel\n")
    with pytest.raises(UsageError, match="at least one text after its header"):
        labelled_file(path)
    with pytest.raises(UsageError, match=r"cannot be read .*: give a UTF-8 \.tsv file"):
        labelled_file(tmp_path / "none.tsv")


@pytest.mark.weights
def test_the_published_lexicon() -> None:
    words = polarities()
    assert len(words) > 1500
    assert all(-1 <= value <= 1 for value in words.values())
    assert words["beautiful"] > 0.5 > -0.5 > words["terrible"]
