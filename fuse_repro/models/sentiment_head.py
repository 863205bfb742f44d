"""A sentiment classifier without a sentiment model: a small head on a text encoder, fitted here in a minute."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fuse_repro.data.sentiment_lexicon import (
    LABELS,
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    SHA256,
    Example,
    labelled_file,
    lexicon_examples,
    polarities,
)
from fuse_repro.data.sentiment_reviews import SHA256 as REVIEWS_SHA256
from fuse_repro.data.sentiment_reviews import review_sentences
from fuse_repro.errors import require
from fuse_repro.models.classifier import EmbeddingClassifier
from fuse_repro.models.conse import imagenet_labels
from fuse_repro.models.head_fitting import fit_linear, fit_networks, two_layers
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.progress import track
from fuse_repro.storage.tensors import CACHE, write
from fuse_repro.weights.cache import cached
from fuse_repro.weights.verify import hash_files

FORMAT = 2
BLOCK = 512
TENSORS = ("0.weight", "0.bias", "2.weight", "2.bias")


def load(
    name: str,
    text: TextEncoder,
    *,
    count: int = 2000,
    penalty: float = 3e-4,
    reviews: int = 8000,
    examples: str | Path | None = None,
    limit: int | None = 8000,
    seed: int = 0,
    cache_dir: str | Path | None = None,
) -> EmbeddingClassifier:
    """Fit the head, or take it from the cache where the same one was fitted before.

    Args:
        name: the model's name.
        text: the text encoder.
        count: sentences of each label made from the lexicon.
        penalty: weight of the squared norm of the linear head that chooses among the reviews' sentences.
        reviews: how many film reviews give their first and last sentences; 0 for none.
        examples: a .tsv file of labelled texts to learn positive and negative from instead, as SST-2's.
        limit: how many of those at most.
        seed: of the sentences, of the choice of examples and of the fit.
        cache_dir: see `fuse_repro.weights.cache_folder`.

    Raises:
        UsageError: settings out of range, a file that is not as described, or no network at first use.
    """
    from fuse_repro.models.broken_files import read_tensors

    require(penalty > 0, f"{name}.penalty", penalty, "above 0")
    require(reviews >= 0, f"{name}.reviews", reviews, "0 or more")
    given = None if examples is None else Path(examples).expanduser()
    require(given is None or given.is_file(), f"{name}.examples", str(given), "a .tsv file that exists")
    spec = {
        "kind": "sentiment head",
        "format": FORMAT,
        "text": [text.fingerprint, text.pooling, None if text.weights is None else text.weights.files],
        "settings": [count, penalty, reviews, seed],
        "lexicon": SHA256,
        "reviews": REVIEWS_SHA256,
        "examples": given and [hash_files(given.parent, [given.name], name), limit],
    }

    def build(folder: Path) -> None:
        made = lexicon_examples(polarities(cache_dir), imagenet_labels(), count, seed)
        if given is not None:
            made = [row for row in made if row[1] == NEUTRAL] + labelled_file(given, limit, seed)
        found = review_sentences(reviews, seed, cache_dir) if reviews and given is None else []
        head = fit_head(text, made, found, penalty, seed)
        write(folder / "head.safetensors", head.state_dict(), {}, CACHE)

    entry = cached(cache_dir, name, spec, f"head of {name}", build)
    saved = read_tensors(entry.directory / "head.safetensors", f"{name}: cannot load {entry.directory}")
    return EmbeddingClassifier(text, two_layers(*(saved[key] for key in TENSORS)), LABELS, name=name)


def fit_head(
    text: TextEncoder, made: Sequence[Example], found: Sequence[Example], penalty: float, seed: int = 0
) -> nn.Sequential:
    """Networks on unit embeddings [B, e] to logits [B, C], on the CPU.

    Args:
        text: the text encoder.
        made: texts whose labels are right.
        found: sentences that have the label of the text around them; those whose sentiment a linear head,
            fitted to `made`, takes to be the other one are left out.
        penalty: of that linear head.
        seed: of the networks.
    """
    features, labels = _embedded(text, made)
    if found:
        linear = fit_linear(features, labels, len(LABELS), penalty)
        more, said = _embedded(text, found)
        with torch.no_grad():
            logits = linear(more)
        positive = logits[:, LABELS.index(POSITIVE)] > logits[:, LABELS.index(NEGATIVE)]
        kept = positive == (said == LABELS.index(POSITIVE))
        features, labels = torch.cat((features, more[kept])), torch.cat((labels, said[kept]))
    return fit_networks(features, labels, len(LABELS), seed)


def _embedded(text: TextEncoder, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Unit embeddings [n, e] and labels [n], on the CPU."""
    texts = [example for example, _ in examples]
    blocks = [texts[begin : begin + BLOCK] for begin in range(0, len(texts), BLOCK)]
    features = torch.cat([text.encode(block) for block in track(blocks, "reading sentences")]).cpu()
    return features, torch.tensor([LABELS.index(label) for _, label in examples])
