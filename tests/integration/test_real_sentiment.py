"""The embedded sentiment classifier, fitted from the published lexicon and a few of the published reviews."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fuse_repro import schema
from fuse_repro.data.sentiment_lexicon import labelled_file
from fuse_repro.models.classifier import EmbeddingClassifier

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def sentiment() -> EmbeddingClassifier:
    with initialize_config_dir(str(schema.config_folder()), version_base=None):
        overrides = ["+model@model=sentiment_minilm", "+cache_dir=null", "+dtype=float32"]
        return instantiate(compose(config_name=None, overrides=[*overrides, "model.reviews=1000"]).model)


def test_it_orders_captions_by_sentiment(sentiment: EmbeddingClassifier) -> None:
    texts = ["a sad, ugly cat", "a cat on a table", "a beautiful happy cat"]
    log_probs = sentiment.encode(texts)
    order = log_probs[:, 2] - log_probs[:, 0]
    assert order[0] < order[1] < order[2]
    assert sentiment.labels[int(log_probs[1].argmax())] == "neutral"


def test_reviews(sentiment: EmbeddingClassifier, shared_data: Path) -> None:
    examples = labelled_file(shared_data / "sst2/dev.tsv", limit=300)
    log_probs = sentiment.encode([text for text, _ in examples])
    wanted = torch.tensor([label == "positive" for _, label in examples])
    assert ((log_probs[:, 2] > log_probs[:, 0]) == wanted).float().mean() > 0.72
