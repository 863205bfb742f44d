"""Mini models before training: vocabularies made from counts, embeddings taken from a teacher."""

from collections import Counter

import pytest
import torch
from tiny_masked_lms import tiny_lm
from torch.nn.functional import normalize

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import UsageError
from fuse_repro.models.mini_lm import MiniLMSettings, teacher_table, untrained
from fuse_repro.models.mini_tokenizer import KINDS, count_words, make_tokenizer

TEXTS = ("The capital of Peru is Lima .", "The capital of France is Paris .", "a dog , a cat and a table")


def tokenizer(kind: str, words: int = 6, pieces: int = 20) -> WordTokenizer:
    return WordTokenizer(make_tokenizer(kind, count_words(TEXTS), ("Lima", "Paris"), words, pieces))


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_frequent_words_are_one_token(kind: str) -> None:
    made = tokenizer(kind)
    words = ["Lima", "Paris", "a", "The", "capital", "."]
    assert [len(ids) for ids in made.word_ids(words)][:4] == [1, 1, 1, 1]
    assert len(made.word_ids(["France"])[0]) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_any_word_of_the_corpus_can_be_written_and_read_back(kind: str) -> None:
    made = tokenizer(kind)
    (ids,) = made.encode([TEXTS[1]])
    assert not made.special_ids & set(ids)
    assert made.decode([ids])[0].replace("##", "").split() == TEXTS[1].split()


@pytest.mark.parametrize("kind", KINDS)
def test_equal_counts_give_equal_tokenizers(kind: str) -> None:
    counts = count_words(TEXTS)
    turned = Counter(dict(reversed(counts.items())))
    one, other = (WordTokenizer(make_tokenizer(kind, each, ("Lima",), 6, 20)) for each in (counts, turned))
    assert one.fingerprint == other.fingerprint


def test_an_unknown_tokenizer_is_refused() -> None:
    with pytest.raises(UsageError, match="wordpiece, unigram"):
        tokenizer("characters")


def test_the_teachers_geometry_is_kept_up_to_a_rotation() -> None:
    teacher, words = tiny_lm("bert"), tokenizer("wordpiece", words=20)
    full = teacher.embedding_size
    one, other = (teacher_table(teacher, words, full, 0.1, seed) for seed in (1, 2))
    assert not torch.allclose(one, other)
    ids = [ids[0] for ids in words.word_ids(["capital", "is", "dog", "cat", "table", "of"])]
    cosines = [normalize(table[ids].double(), dim=1) for table in (one, other)]
    assert torch.allclose(*(unit @ unit.T for unit in cosines), atol=1e-5)
    own = teacher.embedding_table().double() - teacher.embedding_table().double().mean(0)
    read = torch.stack([own[row].mean(0) for row in teacher.tokenizer.encode(
        ["capital", "is", "dog", "cat", "table", "of"])])  # fmt: skip
    unit = normalize(read, dim=1)
    assert torch.allclose(cosines[0] @ cosines[0].T, unit @ unit.T, atol=1e-5)
    assert one.std() == pytest.approx(0.1, rel=1e-3)


def test_a_narrower_model_keeps_the_directions_of_largest_variance() -> None:
    teacher, words = tiny_lm("bert"), tokenizer("wordpiece", words=20)
    assert teacher_table(teacher, words, 8, 0.1, 0).shape == (words.vocab_size, 8)
    with pytest.raises(UsageError, match="at most 32"):
        teacher_table(teacher, words, 40, 0.1, 0)


@pytest.mark.parametrize(("embeddings", "trained"), [("own", True), ("start", True), ("kept", False)])
def test_only_kept_embeddings_are_frozen(embeddings: str, trained: bool) -> None:
    made = make_tokenizer("unigram", count_words(TEXTS), (), 6, 20)
    settings = MiniLMSettings(width=8, heads=2, embeddings=embeddings)
    table = None if embeddings == "own" else torch.randn(len(made), 8)
    model = untrained(settings, made, table)
    weight = model.get_input_embeddings().weight
    assert weight.requires_grad is trained
    assert model.get_output_embeddings().weight is weight
    if table is not None:
        assert torch.equal(weight.detach(), table)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embeddings": "shared"}, "own, start, kept"),
        ({"width": 10}, "multiple of heads"),
        ({"lr": 0}, "above 0"),
    ],
)
def test_settings_that_cannot_be_used(change: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        MiniLMSettings(**change)
