"""How far a prompt's meaning is from a photograph's or another text's, by a secondary model (FUSE, eq. 6)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image
from torch import Tensor, nn

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.in_context import cosines_with_each_word
from fuse_repro.models.precision import full_precision
from fuse_repro.models.text_encoder import DualEncoder, TextEncoder
from fuse_repro.objectives.prompt_batch import PromptBatch
from fuse_repro.objectives.word_table import WordTable, word_table


class EmbeddingMatchTerm(nn.Module):
    """Cosine distance 1 - cos between the encoder's embedding of a prompt and a target embedding, in [0, 2].

    The target [e], of unit length, is the batch's `targets[name]`. If the batch has the primary model's
    embeddings, the text passes through the adapter, and the loss has a gradient by them.

    Args:
        name: of the term, for messages and targets.
        encoder: the model that embeds the prompts.
        adapter: from the primary model to the encoder; needed where gradients are taken.
    """

    estimates_inside = True  # pooling hardly minds where a word stands
    spreads_in_context = (
        False  # averaging with the prompt shrinks differences several times more than they do
    )

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
        return self.distances(self.embeddings(batch), batch)

    def distances(self, embeddings: Tensor, batch: PromptBatch) -> Tensor:
        """[B] cosine distances of the encoder's unit embeddings [B, e] to the batch's target.

        Raises:
            UsageError: the batch has no target for this term.
        """
        if self.name not in batch.targets:
            raise UsageError(f"the term {self.name!r} has no target: give one in PromptBatch.targets")
        target = batch.targets[self.name].float()
        with full_precision(target.device):
            return 1.0 - embeddings.float() @ target

    def embeddings(self, batch: PromptBatch) -> Tensor:
        """The encoder's unit embeddings of the batch's texts: [B, e]."""
        if batch.embeddings is None:
            return self.encoder.encode(batch.texts)
        embeddings, alignment = batch.carried(self.adapter, self.name)
        values: Tensor = self.encoder(embeddings, alignment.target_mask, padded_right=True)
        return values

    def word_table(
        self, source: FrozenModel, cache_dir: Path | None = None, ids: Sequence[int] | None = None
    ) -> WordTable:
        """What `word_estimates` needs to know of the source's tokens, of all or of `ids`."""
        return word_table(source, self.encoder, cache_dir, ids)

    def word_estimates(self, batch: PromptBatch, table: WordTable, context: bool) -> Tensor:
        """[B, n]: the term for every prompt followed by every token of the table, without a pass of each.

        Args:
            batch: the B prompts.
            table: the n tokens.
            context: without context, the value is the distance of the token alone (a zeroth-order table). With it,
                that of the embedding which the prompt would have with the token, estimated as fits the encoder's
                pooling (see fuse_repro.models.in_context).
        """
        target = batch.targets[self.name].float()
        with full_precision(target.device):
            if not context:
                return (1.0 - table.embeddings @ target).expand(len(batch.texts), -1)
            return 1.0 - cosines_with_each_word(
                self.encoder, batch.texts, table.contributions, table.squares, target
            )

    def target(self, item: Any) -> Tensor:
        """The unit embedding of what a prompt should match: [e]."""
        raise NotImplementedError


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
