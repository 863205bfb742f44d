"""What centring does to ConSE: photographs against their captions.

    python benchmarks/conse_retrieval.py $FUSE_REPRO_DATA/coco/images.jsonl

Every photograph ranks all captions (image to text), every caption all photographs (text to image).
"""

import sys

import torch
from _common import load, report

from fuse_repro.data.images import ImageCaptionData, load_image


def recall(scores: torch.Tensor, right: torch.Tensor, k: int) -> float:
    """Share of rows with a right column among their k best; both [rows, columns]."""
    return float(right.gather(1, scores.topk(k, dim=1).indices).any(1).float().mean())


def main(path: str) -> None:
    items = ImageCaptionData(path).items
    (vision,) = load("vision")
    images = [load_image(item.path) for item in items]
    captions = [caption for item in items for caption in item.references]
    owners = torch.tensor([row for row, item in enumerate(items) for _ in item.references])
    right = owners == torch.arange(len(items))[:, None]
    texts = vision.encode(captions)
    figures = {}
    for centre in (False, True):
        vision.centre, vision._label_embeddings = centre, None
        scores = vision.encode_images(images) @ texts.T
        figures["centred" if centre else "plain"] = {
            f"{name} recall@{k}": recall(values, matches, k)
            for name, values, matches in (
                ("image to text", scores, right),
                ("text to image", scores.T, right.T),
            )
            for k in (1, 5)
        }
    report("conse_retrieval", {"photographs": len(items), "captions": len(captions), **figures})


if __name__ == "__main__":
    main(sys.argv[1])
