"""CLIPScore and RefCLIPScore (Hessel et al. 2021, arXiv 2104.08718) by any image-text model."""

from collections.abc import Sequence

import torch
from PIL.Image import Image
from torch import Tensor

from fuse_repro.errors import require
from fuse_repro.models.text_encoder import DualEncoder

SCALE = 2.5  # w in the paper's eq. 1
UNIT = f"{SCALE} * cosine, from 0 to {SCALE}"  # as the paper defines it, not in percent


def clip_scores(encoder: DualEncoder, images: Sequence[Image], captions: Sequence[str]) -> Tensor:
    """2.5 * max(cos(caption, image), 0) of every pair: [n], in [0, 2.5].

    Comparable with published values only with CLIP ViT-B/32. As in the paper, a caption is read behind
    "A photo depicts".

    Raises:
        UsageError: not as many captions as images, or none.
    """
    _check(len(images), len(captions))
    found, seen = _captions(encoder, captions), encoder.encode_images(images)
    return SCALE * (found * seen).sum(1).clamp(min=0)


def ref_clip_scores(
    encoder: DualEncoder,
    images: Sequence[Image],
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
) -> Tensor:
    """Harmonic mean of CLIPScore and of the best max(cos(caption, reference), 0), for every pair: [n].

    Raises:
        UsageError: not as many of each, none, or a pair without references.
    """
    _check(len(captions), len(references))
    require(
        all(references), "references", [len(texts) for texts in references], "at least one for each caption"
    )
    by_image = clip_scores(encoder, images, captions)
    found = _captions(encoder, captions)
    best = [
        (_captions(encoder, texts) @ caption).max().clamp(min=0)
        for texts, caption in zip(references, found, strict=True)
    ]
    by_reference = torch.stack(best)
    return 2 * by_image * by_reference / (by_image + by_reference).clamp(min=torch.finfo(torch.float32).tiny)


def _captions(encoder: DualEncoder, captions: Sequence[str]) -> Tensor:
    return encoder.encode([f"A photo depicts {caption}" for caption in captions])


def _check(first: int, second: int) -> None:
    require(0 < first == second, "captions and images", (first, second), "as many of each, at least one")
