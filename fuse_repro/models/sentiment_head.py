"""A sentiment classifier without a sentiment model: a linear head on a text encoder, fitted here in seconds."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from fuse_repro.data.sentiment_lexicon import (
    LABELS,
    NEUTRAL,
    SHA256,
    Example,
    labelled_file,
    lexicon_examples,
    polarities,
)
from fuse_repro.errors import require
from fuse_repro.models.classifier import EmbeddingClassifier
from fuse_repro.models.conse import imagenet_labels
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.progress import track
from fuse_repro.weights.cache import cached, hash_files

FORMAT = 1
BLOCK = 512


def load(
    name: str,
    text: TextEncoder,
    *,
    count: int = 2000,
    penalty: float = 1e-3,
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
        penalty: weight of the squared norm of the head.
        examples: a .tsv file of labelled texts to learn positive and negative from instead, as SST-2's.
        limit: how many of those at most.
        seed: of the sentences and of the choice of examples.
        cache_dir: see `fuse_repro.weights.cache_folder`.

    Raises:
        UsageError: settings out of range, a file that is not as described, or no network at first use.
    """
    from safetensors.torch import load_file, save_file

    require(penalty > 0, f"{name}.penalty", penalty, "above 0")
    given = None if examples is None else Path(examples).expanduser()
    require(given is None or given.is_file(), f"{name}.examples", str(given), "a .tsv file that exists")
    spec = {
        "kind": "sentiment head",
        "format": FORMAT,
        "text": [text.fingerprint, text.pooling, None if text.weights is None else text.weights.files],
        "settings": [count, penalty, seed],
        "lexicon": SHA256,
        "examples": given and [hash_files(given.parent, [given.name], name), limit],
    }

    def build(folder: Path) -> None:
        found = lexicon_examples(polarities(cache_dir), imagenet_labels(), count, seed)
        if given is not None:
            found = [row for row in found if row[1] == NEUTRAL] + labelled_file(given, limit, seed)
        weight, bias = fit_head(text, found, penalty)
        save_file({"weight": weight, "bias": bias}, folder / "head.safetensors")

    head = load_file(cached(cache_dir, name, spec, f"head of {name}", build).directory / "head.safetensors")
    return EmbeddingClassifier(text, head["weight"], head["bias"], LABELS, name=name)


def fit_head(text: TextEncoder, examples: Sequence[Example], penalty: float) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression on unit embeddings: weight [C, e] and bias [C], on the CPU.

    Every label counts alike, however many examples it has.
    """
    texts = [example for example, _ in examples]
    blocks = [texts[begin : begin + BLOCK] for begin in range(0, len(texts), BLOCK)]
    features = torch.cat([text.encode(block) for block in track(blocks, "fitting the sentiment head")]).cpu()
    labels = torch.tensor([LABELS.index(label) for _, label in examples])
    counts = one_hot(labels, len(LABELS)).sum(0)
    centre = features.mean(0)
    weight = torch.zeros(len(LABELS), features.shape[1], requires_grad=True)
    bias = torch.zeros(len(LABELS), requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        logits = (features - centre) @ weight.T + bias
        value = cross_entropy(logits, labels, 1 / counts.clamp(min=1)) + penalty * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)
    return weight.detach().clone(), (bias - weight @ centre).detach().clone()
