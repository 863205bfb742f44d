"""Sentences out of film reviews."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse_repro.data.sentiment_reviews import LONGEST, SHORTEST, first_and_last, review_sentences
from fuse_repro.errors import UsageError


def test_the_first_and_the_last_sentence_that_fit() -> None:
    review = "Wow! I went in with high hopes.<br /><br />Then it began. The Plot made no sense? A sad waste of time."
    assert first_and_last(review) == ["i went in with high hopes.", "a sad waste of time."]
    assert first_and_last("One sentence of five words.") == ["one sentence of five words."]
    assert first_and_last("Too short. " + "long " * (LONGEST + 1)) == []


@given(st.text())
def test_sentences_of_any_text_have_a_fitting_length(text: str) -> None:
    found = first_and_last(text)
    assert len(found) <= 2
    assert all(SHORTEST <= len(sentence.split()) <= LONGEST for sentence in found)


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="reviews=0 is not allowed"):
        review_sentences(0)


@pytest.mark.weights
def test_the_published_reviews() -> None:
    found = review_sentences(200)
    assert found == review_sentences(200)
    assert found != review_sentences(200, seed=1)
    assert 300 < len(found) <= 400
    labels = Counter(label for _, label in found)
    assert set(labels) == {"positive", "negative"}
    assert min(labels.values()) > 100
