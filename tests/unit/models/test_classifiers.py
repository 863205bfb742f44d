"""What holds for every text classifier, whatever its architecture."""

import pytest
import torch
from tiny_classifiers import LABELS, tiny_bert_classifier, tiny_head, tiny_roberta_classifier
from tiny_models import save_model, tiny_bert_encoder

from fuse_repro.errors import UsageError
from fuse_repro.models.batching import AutoBatch
from fuse_repro.models.classifier import EmbeddingClassifier, SequenceClassifier, TextClassifier

TEXTS = [
    "a cat",
    "A baseball player swings his bat at the ball.",
    "",
    "a cat",
    "What a terrible, boring waste of time",
    "two dogs",
]
BUILDERS = {"roberta": tiny_roberta_classifier, "bert": tiny_bert_classifier, "head": tiny_head}


@pytest.fixture(params=list(BUILDERS))
def classifier(request: pytest.FixtureRequest) -> TextClassifier:
    return BUILDERS[request.param]()


def padded(model: TextClassifier, texts: list[str], extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Content ids padded on the right with random ones, and their mask."""
    ids = model.tokenizer.encode(texts)
    size = max(map(len, ids)) + extra
    junk = torch.randint(model.tokenizer.vocab_size, (len(ids), size), generator=torch.manual_seed(3))
    mask = torch.zeros(len(ids), size)
    for row, tokens in enumerate(ids):
        junk[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        mask[row, : len(tokens)] = 1
    return junk, mask


def test_equal_to_transformers_on_its_own_tokens(classifier: TextClassifier) -> None:
    for text in TEXTS:
        ids = torch.tensor([classifier.tokenizer.tokenizer(text)["input_ids"]])
        if isinstance(classifier, EmbeddingClassifier):
            hidden = classifier.model(input_ids=ids).last_hidden_state.mean(1)
            unit = torch.nn.functional.normalize(hidden, dim=-1)
            logits = classifier.head(unit)
        else:
            logits = classifier.model(input_ids=ids).logits
        torch.testing.assert_close(
            classifier.encode([text]), logits.log_softmax(-1).detach(), rtol=1e-4, atol=1e-5
        )


def test_probabilities_that_differ_between_texts(classifier: TextClassifier) -> None:
    probabilities = classifier.encode(TEXTS).exp()
    assert probabilities.shape == (len(TEXTS), 3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(TEXTS)))
    assert (probabilities[0] - probabilities[1]).abs().max() > 1e-3


def test_batched_equals_single_and_padding_changes_nothing(classifier: TextClassifier) -> None:
    singles = torch.cat([classifier.encode([text]) for text in TEXTS])
    torch.testing.assert_close(classifier.encode(TEXTS), singles, rtol=0, atol=1e-5)
    for extra in (0, 5):
        ids, mask = padded(classifier, TEXTS, extra)
        torch.testing.assert_close(classifier(classifier.embed(ids), mask), singles, rtol=0, atol=1e-5)


def test_gradients_through_embeddings_equal_those_through_one_hot_ids(classifier: TextClassifier) -> None:
    ids, mask = padded(classifier, TEXTS[:2], extra=2)
    embeddings = classifier.embed(ids).requires_grad_(True)
    classifier(embeddings, mask)[:, 2].sum().backward()
    one_hot = torch.nn.functional.one_hot(ids, classifier.tokenizer.vocab_size).float().requires_grad_(True)
    classifier(one_hot @ classifier.embedding_table(), mask)[:, 2].sum().backward()
    expected = embeddings.grad @ classifier.embedding_table().T
    torch.testing.assert_close(one_hot.grad, expected, rtol=1e-4, atol=1e-6)
    assert (embeddings.grad[mask == 0] == 0).all()
    assert (embeddings.grad[mask == 1] != 0).any(-1).all()


def test_gradient_is_right(classifier: TextClassifier) -> None:
    ids, mask = padded(classifier, ["a cat", "two dogs"])
    embeddings = classifier.embed(ids)
    direction = 1e-3 * torch.randn(embeddings.shape, generator=torch.manual_seed(5))
    gradient = torch.autograd.functional.vjp(
        lambda e: classifier(e, mask)[:, 0].sum(), embeddings, strict=True
    )[1]
    with torch.no_grad():
        ends = [classifier(embeddings + sign * direction, mask)[:, 0].sum() for sign in (1, -1)]
    torch.testing.assert_close((gradient * direction).sum(), (ends[0] - ends[1]) / 2, rtol=2e-2, atol=1e-4)


def test_padding_on_the_left_and_too_long_texts_are_refused(classifier: TextClassifier) -> None:
    with pytest.raises(UsageError, match="pad on the right"):
        classifier(torch.zeros(1, 2, classifier.embedding_size), torch.tensor([[0, 1]]))
    with pytest.raises(UsageError, match=f"too long: at most {classifier.max_tokens} are allowed"):
        classifier.encode(["cat " * 100])


def test_roberta_reads_texts_up_to_its_last_position() -> None:
    model = tiny_roberta_classifier()
    assert model.max_tokens == 62
    longest = torch.full((1, 60), 20)
    assert model(model.embed(longest), torch.ones(1, 60)).isfinite().all()
    with pytest.raises(UsageError, match="at most 62"):
        model(model.embed(torch.full((1, 61), 20)), torch.ones(1, 61))


def test_batches_are_halved_when_memory_runs_out_and_stay_small(
    classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a b", "a c", "a d", "a e", "a f", "a g"]
    expected = classifier.encode(texts)
    pool, sizes = classifier._pool, []

    def small_memory(embeddings: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        sizes.append(len(embeddings))
        if len(embeddings) > 2:
            raise torch.OutOfMemoryError
        return pool(embeddings, lengths)

    monkeypatch.setattr(classifier, "_pool", small_memory)
    torch.testing.assert_close(classifier.encode(texts), expected, rtol=0, atol=1e-5)
    assert max(sizes) > 2
    sizes.clear()
    torch.testing.assert_close(classifier.encode(texts), expected, rtol=0, atol=1e-5)
    assert max(sizes) <= 2


def test_one_row_that_does_not_fit_is_said() -> None:
    def fails(rows: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(UsageError, match="big: one text does not fit in memory"):
        AutoBatch("big", 4)(fails, torch.zeros(3, 2))
    assert AutoBatch("any", 2)(lambda rows: rows + 1, torch.zeros(5)).tolist() == [1.0] * 5
    assert AutoBatch("any", 2)(lambda rows: rows + 1, torch.zeros(0, 3)).shape == (0, 3)


def test_labels() -> None:
    model = tiny_bert_classifier()
    assert [model.index(label) for label in LABELS] == [0, 1, 2]
    with pytest.raises(UsageError, match="label='happy' is not allowed: one of negative, neutral, positive"):
        model.index("happy")
    with pytest.raises(UsageError, match="at least two names"):
        SequenceClassifier(model.model, model.tokenizer, ["one"], name="x")
    with pytest.raises(UsageError, match=r"head from and to=\(31, 3\) is not allowed: \(32, 3\)"):
        EmbeddingClassifier(tiny_bert_encoder(), torch.nn.Linear(31, 3), LABELS, name="x")


@pytest.mark.parametrize("build", [tiny_roberta_classifier, tiny_bert_classifier])
def test_loads_what_transformers_saves(build: type, tmp_path) -> None:
    model = build()
    save_model(model, tmp_path)
    loaded = SequenceClassifier.load("c", "path", path=tmp_path, labels=LABELS)
    torch.testing.assert_close(loaded.encode(TEXTS), model.encode(TEXTS))
    assert SequenceClassifier.load("c", "path", path=tmp_path).labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    with pytest.raises(UsageError, match=r"c\.labels=.*3 names, one for each output"):
        SequenceClassifier.load("c", "path", path=tmp_path, labels=["bad", "good"])


def test_word_estimates_of_a_head_are_pooling_arithmetic() -> None:
    model = tiny_head()
    words = model.word_encoder.encode(["cat", "dog", "ball"])
    alone = model.word_log_probs(["a", "the"], words, context=False)
    torch.testing.assert_close(alone[1], model.encode(["cat", "dog", "ball"]), rtol=1e-4, atol=1e-5)
    inside = model.word_log_probs(["a man"], words, context=True)
    assert inside.shape == (1, 3, 3)
    text = model.word_encoder.encode(["a man"])[0]
    length = len(model.tokenizer.encode(["a man"])[0]) + 2
    joined = torch.nn.functional.normalize(length * text + 2 * words[1], dim=0)
    expected = model.head(joined).log_softmax(-1)
    torch.testing.assert_close(inside[0, 1], expected)
