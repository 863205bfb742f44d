"""How far a prompt's meaning is from a photograph's or another text's, by a secondary model (FUSE, eq. 6)."""

from PIL.Image import Image
from torch import Tensor, nn

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.errors import UsageError
from fuse_repro.models.text_encoder import DualEncoder, TextEncoder
from fuse_repro.objectives.prompt_batch import PromptBatch


class EmbeddingMatchTerm(nn.Module):
    """Cosine distance 1 - cos between the encoder's embedding of a prompt and a target embedding, in [0, 2].

    The target [e], of unit length, is the batch's `targets[name]`. Where the batch has the primary model's
    embeddings, the text passes through the adapter, so that the loss has a gradient by them.
    """

    def __init__(self, name: str, encoder: TextEncoder, adapter: EmbeddingMap | None = None) -> None:
        super().__init__()
        self.name = name
        self.adapter = adapter
        self._encoder = (encoder,)

    @property
    def encoder(self) -> TextEncoder:
        return self._encoder[0]

    def forward(self, batch: PromptBatch) -> Tensor:
        """[B] cosine distances."""
        if self.name not in batch.targets:
            raise UsageError(f"the term {self.name!r} has no target: give one in PromptBatch.targets")
        return 1.0 - self.embeddings(batch) @ batch.targets[self.name]

    def embeddings(self, batch: PromptBatch) -> Tensor:
        """The encoder's unit embeddings of the batch's texts: [B, e]."""
        if batch.embeddings is None:
            return self.encoder.encode(batch.texts)
        if self.adapter is None:
            raise UsageError(
                f"the term {self.name!r} has no adapter to carry its gradient: "
                "give one, or set optimizer.gradient_weight=0"
            )
        if batch.slot is None:
            alignment = self.adapter.align(batch.texts)
        else:
            word = batch.slot.word(self.encoder.tokenizer)
            alignment = self.adapter.align([f"{text} {word}" for text in batch.texts], batch.slot.tokens)
        values: Tensor = self.encoder(self.adapter.embed(batch.embeddings, alignment), alignment.target_mask)
        return values


class ImageMatchTerm(EmbeddingMatchTerm):
    """Distance to a photograph, by an image-text model."""

    def target(self, image: Image) -> Tensor:
        """The photograph's unit embedding: [e]."""
        if not isinstance(self.encoder, DualEncoder):
            raise UsageError(
                f"{self.encoder.name} has no image side: choose an image-text model, such as clip_vit_b32"
            )
        return self.encoder.encode_images([image])[0]


class TextMatchTerm(EmbeddingMatchTerm):
    """Distance to another text, by a sentence encoder."""

    def target(self, text: str) -> Tensor:
        """The text's unit embedding: [e]."""
        return self.encoder.encode([text])[0]
