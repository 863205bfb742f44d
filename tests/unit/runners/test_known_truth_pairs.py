"""Made-up pairs of models: their tokenizers, the relation between their tables, and the right gradient."""

from functools import cache

import pytest
import torch

from fuse_repro.algebra.t_product import t_product
from fuse_repro.data.corpora import WordfreqCorpus
from fuse_repro.errors import UsageError
from fuse_repro.runners.known_truth.instrument import TEXTS, WORDS, ask
from fuse_repro.runners.known_truth.lexicon import Reading, read
from fuse_repro.runners.known_truth.pair import Pair, Truth, make_pair
from fuse_repro.runners.known_truth.relations import RELATIONS, Places, known_matrix
from fuse_repro.runners.known_truth.tables import violation
from fuse_repro.runners.known_truth.tokenizers import KINDS, train_tokenizer

TRUTHS = {
    "tokens": Truth("means", "rotation", 12, 12, every_token=True),
    "means": Truth("means", "general", 12, 8),
    "places": Truth("places", "general", 16, 4),
    "sums": Truth("sums", "general", 12, 8),
    "coarser": Truth("places", "general", 16, 4, coarser=True),
}


@cache
def corpus() -> tuple[str, ...]:
    return WordfreqCorpus(size=5000, cased=False).words()


@cache
def pair(truth: str, noise: float = 0.0, target: str = "wordpiece", overlap: float = 1.0) -> Pair:
    kinds = ("bpe", target)
    more = {"words": 30, "overlap": overlap, "lengths": (1, 2, 3), "noise": noise, "seed": 0}
    return make_pair(TRUTHS[truth], corpus(), tokenizers=kinds, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_tokenizer_has_read_is_one_token_and_the_rest_is_in_pieces(kind: str) -> None:
    words = ["river", "bridge", "mountain", "evening", "even", "bring"]
    tokenizer = train_tokenizer(kind, words)
    assert tokenizer.fingerprint == train_tokenizer(kind, words[::-1]).fingerprint
    if kind == "characters":
        assert [len(ids) for ids in tokenizer.word_ids(words)] == [len(word) for word in words]
    else:
        assert {len(ids) for ids in tokenizer.word_ids(words)} == {1}
    (strange,) = tokenizer.word_ids(["bringing"])
    assert len(strange) > 1
    assert tokenizer.special_ids.isdisjoint(strange)
    (text,) = tokenizer.split(["river even bringing"])
    assert text.words == ("river", "even", "bringing")
    assert text.ids == tuple(token for ids in tokenizer.word_ids(text.words) for token in ids)
    assert tokenizer.decode([text.ids])[0].strip() == "river even bringing"


def test_singular_values_are_as_said() -> None:
    generator = torch.Generator().manual_seed(0)
    rotation = known_matrix("rotation", 5, 3, generator)
    assert torch.allclose(rotation.T @ rotation, torch.eye(3, dtype=torch.float64))
    values = torch.linalg.svdvals(known_matrix("general", 5, 3, generator))
    assert torch.allclose(values, torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_relation_holds_for_every_word(truth: str) -> None:
    made = pair(truth)
    tables = (made.source.embedding_table(), made.target.embedding_table())
    assert violation(made.relation, made.lexicon.classes, tables) < 1e-9
    assert float(tables[1].std()) == pytest.approx(1, abs=0.05)
    noisy = (tables[0], pair(truth, 0.1).target.embedding_table())
    assert float((noisy[1] - tables[1]).std()) == pytest.approx(0.1, rel=0.1)
    assert violation(made.relation, made.lexicon.classes, noisy) > 0.05


@pytest.mark.parametrize("truth", ["places", "coarser"])
def test_places_are_a_t_product(truth: str) -> None:
    made = pair(truth)
    assert isinstance(made.relation, Places)
    assert {s > t for s, t in made.lexicon.classes} == ({False, True} if truth == "coarser" else {False})
    for (s, t), words in made.lexicon.classes.items():
        depth = max(s, t)
        source, target = (
            torch.nn.functional.pad(model.embed(torch.tensor(ids)), (0, 0, 0, depth - len(ids))).T.unsqueeze(
                0
            )
            for model, ids in ((made.source, words[0].source), (made.target, words[0].target))
        )
        faces = made.relation.faces(s, t).permute(1, 2, 0)
        assert torch.allclose(t_product(source, faces), target, atol=1e-9)


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_gradient_is_that_of_the_objective_behind_the_relation(truth: str) -> None:
    """The source's embeddings alone decide what the objective sees: its numeric slope is the gradient."""
    made = pair(truth)
    key = max(made.lexicon.classes)
    question = ask(made, key, 0)
    step = 1e-5 * torch.randn(
        question.embeddings.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )

    def value(embeddings: torch.Tensor) -> torch.Tensor:
        words = embeddings.unflatten(1, (WORDS, key[0]))
        if made.relation.sees_places:
            faces = made.relation.faces(*key).permute(1, 2, 0)
            deep = torch.nn.functional.pad(words, (0, 0, 0, faces.shape[2] - key[0])).flatten(0, 1).mT
            images = t_product(deep, faces)[..., : key[1]].mT.unflatten(0, (TEXTS, WORDS))
        else:  # only sums are known, and only they are seen
            share = key[1] / key[0] if truth in ("tokens", "means") else 1
            images = (words.sum(2) @ made.relation.matrix * share / key[1]).unsqueeze(2)
            images = images.expand(-1, -1, key[1], -1)
        return question.objective(images.flatten(1, 2)).sum()

    slope = (value(question.embeddings + step) - value(question.embeddings - step)) / 2
    assert float((question.gradient * step).sum()) == pytest.approx(float(slope), rel=1e-6)


def test_overlap_is_a_share_of_the_words_that_are_whole_in_both() -> None:
    whole, half, none = (
        len(pair("sums", overlap=share).lexicon.classes.get((1, 1), [])) for share in (1.0, 0.5, 0.0)
    )
    assert (whole, half, none) == (30, 15, 0)


def test_a_relation_that_a_token_cannot_hold_is_refused() -> None:
    """Four target tokens of size 4 do not fit in a token of size 12."""
    truth = Truth("places", "general", 12, 4)
    with pytest.raises(
        UsageError, match=r"source_size=12 is not allowed: at least 16: a token of the source holds"
    ):
        make_pair(
            truth, corpus(), tokenizers=("bpe", "bpe"), words=30, overlap=1, lengths=[1, 4], noise=0, seed=0
        )


@pytest.mark.parametrize(
    ("kinds", "lengths", "said"),
    [
        (
            ("bpe", "bpe"),
            (1, 20),
            r"runner.lengths=\[1, 20\]: too few words .* 20 tokens in the target \(words have 1 to \d",
        ),
        (
            ("bpe", "characters"),
            (1, 3),
            r"runner.lengths=\[1, 3\]: too few words .* 1 tokens in the target \(words have 2 to 8",
        ),
        (
            ("characters", "bpe"),
            (1,),
            r"runner.lengths=\[1\]: too few words .* \(only these have, .*'3x1': \d+",
        ),
    ],
)
def test_a_length_that_no_common_word_has_is_one_clear_line(
    kinds: tuple[str, str], lengths: tuple[int, ...], said: str
) -> None:
    lexicon = read(corpus(), Reading(kinds, 30, 1.0, lengths, 12, False, False, 0))
    with pytest.raises(UsageError, match=said):
        lexicon.check_lengths(lengths)


def test_a_small_corpus_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"corpus: 2 different words .* runner.base.words=30 needs 690: take a larger"
    ):
        read(["cat", "dog", "Dog", "x"], Reading(("bpe", "bpe"), 30, 1.0, (1,), 12, False, False, 0))


def test_every_relation_has_a_name() -> None:
    assert {truth.relation for truth in TRUTHS.values()} == set(RELATIONS)
