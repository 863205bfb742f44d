"""The head of the embedded sentiment classifier: what it learns from, and how it is fitted."""

import pytest
import torch
from tiny_models import tiny_bert_encoder

from fuse_repro.data.sentiment_lexicon import LABELS, NEGATIVE, POSITIVE, lexicon_examples
from fuse_repro.models.classifier import EmbeddingClassifier
from fuse_repro.models.head_fitting import fit_linear, fit_networks
from fuse_repro.models.sentiment_head import fit_head

WORDS = {"great": 0.8, "moving": 0.4, "beautiful": 0.9, "terrible": -1.0, "boring": -0.6, "long": 0.0}
NOUNS = ("cat", "table", "kite")


@pytest.fixture
def blobs() -> tuple[torch.Tensor, torch.Tensor]:
    """Three labels, each around a place of its own."""
    labels = torch.arange(600) % 3
    noise = 0.2 * torch.randn(600, 5, generator=torch.Generator().manual_seed(0))
    features = noise + torch.nn.functional.one_hot(labels, 5)
    return features, labels


def test_logistic_regression_is_at_its_optimum(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    features, labels = blobs
    layer = fit_linear(features, labels, 3, penalty=0.01)
    logits = layer(features)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    gradients = torch.autograd.grad(loss + 0.01 * layer.weight.square().sum(), [layer.weight, layer.bias])
    centre_part = gradients[1][:, None] * features.mean(0)  # the fit centres the features
    assert (gradients[0] - centre_part).abs().max() < 1e-3
    assert (logits.argmax(1) == labels).float().mean() > 0.95


def test_networks_learn_what_no_line_separates() -> None:
    points = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
    labels = (points[:, 0] * points[:, 1] > 0).long()
    head = fit_networks(points, labels, 2)
    found = head(points)
    assert (found.argmax(1) == labels).float().mean() > 0.8
    linear = fit_linear(points, labels, 2, penalty=1e-6)
    assert (linear(points).argmax(1) == labels).float().mean() < 0.6


def test_networks_do_not_depend_on_the_global_generator(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.manual_seed(1)
    first = fit_networks(*blobs, 3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second, other = fit_networks(*blobs, 3), fit_networks(*blobs, 3, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first[0].weight, second[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_a_head_learns_sentences_and_leaves_contradictions_out() -> None:
    encoder = tiny_bert_encoder()
    made = lexicon_examples(WORDS, NOUNS, count=60)
    plain = fit_head(encoder, made, [], penalty=1e-4)
    model = EmbeddingClassifier(encoder, plain, LABELS, name="head")
    texts = [text for text, _ in made]
    wanted = torch.tensor([LABELS.index(label) for _, label in made])
    assert (model.encode(texts).argmax(1) == wanted).float().mean() > 0.5
    # Of each pair of equal sentences with both labels exactly one can be kept: both ways the same head comes out.
    found = [(text, label) for text, label in made if label != "neutral"][:40]
    turned = [(text, NEGATIVE if label == POSITIVE else POSITIVE) for text, label in found]
    both = fit_head(encoder, made, [*found, *turned], penalty=1e-4)
    swapped = fit_head(encoder, made, [*turned, *found], penalty=1e-4)
    features = encoder.encode(texts)
    assert not torch.equal(both(features), plain(features))
    agreement = (both(features).argmax(1) == swapped(features).argmax(1)).float().mean()
    assert agreement > 0.9
