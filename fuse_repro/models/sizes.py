"""How large a model is, without loading it: from a table of those in conf/model, or from its files' headers."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fuse_repro import dtypes
from fuse_repro.errors import UsageError, first_line
from fuse_repro.storage.reading import require_regular

BYTES = {name: dtypes.BYTES[name] for name in dtypes.WEIGHTS}
IMAGE_TOKENS = 50  # patches of an image, as CLIP ViT-B/32 has them


@dataclass(frozen=True)
class ModelSize:
    """How large a model is.

    Attributes:
        parameters: all of them.
        per_token: multiply-adds of a forward pass per token, output head included.
        per_image: multiply-adds of a forward pass per image; 0 for models without images.
    """

    parameters: int
    per_token: float
    per_image: float = 0.0


# Parameters as transformers counts them. With tied heads per_token is about the same; encoders leave the embedding
# table out, and ALBERT uses its one layer 12 or 24 times.
KNOWN = {
    "smollm2_135m": ModelSize(134_515_008, 134.5e6),
    "gemma3_270m": ModelSize(268_098_176, 268.1e6),
    "qwen25_coder_1b5": ModelSize(1_777_088_000, 1543.7e6),  # its head is a table of its own
    "gpt2": ModelSize(124_439_808, 123.5e6),
    "gpt2_medium": ModelSize(354_823_168, 353.5e6),
    "gpt2_large": ModelSize(774_030_080, 772.1e6),
    "bert_base": ModelSize(108_340_804, 107.9e6),
    "bert_large": ModelSize(333_610_308, 333.0e6),
    "roberta_base": ModelSize(124_697_433, 124.2e6),
    "roberta_large": ModelSize(355_412_057, 354.9e6),
    "albert_base": ModelSize(11_221_680, 88.9e6),
    "albert_large": ModelSize(16_795_824, 306.0e6),
    "minilm": ModelSize(22_713_728, 10.6e6),
    "sentiment_minilm": ModelSize(22_713_728, 10.6e6),
    "twitter_roberta": ModelSize(124_647_939, 85.5e6),
    "clip_vit_b32": ModelSize(151_277_313, 37.7e6, 4.4e9),
    "conse_efficientnet_minilm": ModelSize(28_863_960, 10.6e6, 0.86e9),
}


def model_size(node: Mapping[str, Any]) -> ModelSize | None:
    """The size of the model of a config node; None where nothing is known of it."""
    folder = node.get("path") if node.get("source") == "path" else None
    if folder is not None and Path(folder).is_dir():
        parameters = sum(_tensor_sizes(Path(folder)))
        return ModelSize(parameters, parameters, IMAGE_TOKENS * parameters) if parameters else None
    return KNOWN.get(str(node.get("name")))


def _tensor_sizes(folder: Path) -> Iterator[int]:
    """Elements of every tensor; only the headers are read. Raises UsageError for a file that is not safetensors."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            require_regular(path)
            with safe_open(path, framework="pt") as file:
                yield from (math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as err:
            raise UsageError(f"cannot read {path} ({first_line(err)}): get or save it again") from err
