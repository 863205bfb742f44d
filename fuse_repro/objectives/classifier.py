"""How well a prompt carries a label, such as a sentiment, by a secondary classifier (FUSE, last term of eq. 6)."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.classifier import TextClassifier
from fuse_repro.models.precision import full_precision
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.objectives.prompt_batch import PromptBatch
from fuse_repro.objectives.word_table import WordTable, word_table


class ClassifierTerm(nn.Module):
    """Cross-entropy -log p(label | prompt) of every candidate, in nats.

    If the batch has the primary model's embeddings, the text passes through the adapter, and the loss has a
    gradient by them.

    Args:
        name: of the term, for messages.
        encoder: the classifier.
        adapter: from the primary model to the classifier; needed where gradients are taken.
        label: what the prompt should carry.

    Raises:
        UsageError: a model that is no classifier, or a label that it does not know.
    """

    estimates_inside = True  # a classifier hardly minds where a word stands
    spreads_in_context = False  # averaging with the prompt shrinks differences

    def __init__(
        self, name: str, encoder: TextEncoder, adapter: EmbeddingMap | None = None, label: str = "positive"
    ) -> None:
        super().__init__()
        usable = isinstance(encoder, TextClassifier)
        require(usable, f"objective.{name}.model", encoder.name, "a classifier, such as sentiment_minilm")
        self.name = name
        self.adapter = adapter
        self.label = label
        self._classifier: tuple[TextClassifier] = (encoder,)  # type: ignore[assignment]
        self._column = self.classifier.index(label)

    @property
    def classifier(self) -> TextClassifier:
        return self._classifier[0]

    @property
    def encoder(self) -> TextEncoder:
        """What reads the texts: the classifier."""
        return self.classifier

    def forward(self, batch: PromptBatch) -> Tensor:
        """[B] nats."""
        return -self.log_probs(batch)[:, self._column]

    def log_probs(self, batch: PromptBatch) -> Tensor:
        """The classifier's log-probabilities of all labels for the batch's texts: [B, C]."""
        if batch.embeddings is None:
            return self.classifier.encode(batch.texts)
        embeddings, alignment = batch.carried(self.adapter, self.name)
        values: Tensor = self.classifier(embeddings, alignment.target_mask)
        return values

    def word_table(
        self, source: FrozenModel, cache_dir: Path | None = None, ids: Sequence[int] | None = None
    ) -> WordTable:
        """What `word_estimates` needs to know of the source's tokens, of all or of `ids`."""
        return word_table(source, self.classifier.word_encoder, cache_dir, ids)

    def word_estimates(self, batch: PromptBatch, table: WordTable, context: bool) -> Tensor:
        """The term for every prompt followed by every token of the table, without a forward pass of each: [B, n]."""
        words = table.contributions if context else table.embeddings
        with full_precision(words.device):
            return -self.classifier.word_log_probs(batch.texts, words, context)[..., self._column]
