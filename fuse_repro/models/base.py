"""What every frozen model shares: embeddings, tokenizer, fingerprint."""

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, Union

import torch
from torch import Tensor, nn

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import UsageError
from fuse_repro.models.batching import AutoBatch, most_rows
from fuse_repro.models.metering import Watch
from fuse_repro.models.positions import max_tokens
from fuse_repro.models.view import reading_view
from fuse_repro.weights import WeightsEntry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

AnyTokenizer = Union[WordTokenizer, "PreTrainedTokenizerFast"]
REMEDY = "take another model; docs/models.md lists the kinds that were tried"


class FrozenModel(nn.Module):
    """A pretrained transformers model that is only read: in eval mode, no parameter takes a gradient.

    The model that is given stays as it is: `model` is a view of it, which shares its weights (see
    `fuse_repro.models.view`). Weights that are trained further call for a new wrapper, since what is known of the
    old ones (`fingerprint`) is kept.

    Shapes: B texts, S tokens, d embedding size, V tokens of the tokenizer. Embeddings are what the model
    takes as `inputs_embeds`: scales that a model applies in its embedding layer (Gemma) are included.

    Args:
        model: a ready transformers model.
        tokenizer: its tokenizer, as transformers has it or as a WordTokenizer.
        name: for messages and records; None for the model's class and the first digits of its fingerprint.
        weights: where the weights came from, if from files.

    Raises:
        UsageError: the tokenizer is a slow one, or makes ids that the embedding table does not hold. Tokens that were
            added to a tokenizer and not to the table are no reason: they are never used.
    """

    model: Any

    def __init__(
        self,
        model: nn.Module,
        tokenizer: AnyTokenizer,
        *,
        name: str | None = None,
        weights: WeightsEntry | None = None,
    ) -> None:
        super().__init__()
        self.model = reading_view(model)
        self.name = name or type(model).__name__
        self.weights = weights
        self._fingerprint: str | None = None
        self._batches: dict[tuple[str, int, str], AutoBatch] = {}
        rows = self._rows()
        self.tokenizer = as_words(tokenizer).within(rows)
        _check_ids(self.tokenizer, rows, self.name)
        if not name:
            self.name += f"-{self.fingerprint[:8]}"
        self.watch = Watch(self.name, self.body, self.model, self._head, self._body_config)

    @property
    def body(self) -> nn.Module:
        """The transformer that reads tokens, below a head if there is one: what is counted of the model."""
        base = getattr(self.model, "base_model", self.model)
        return getattr(base, "decoder", base)  # OPT goes round the module in between

    @property
    def _head(self) -> nn.Module | None:
        """The layer that makes an output for every token of the vocabulary, if there is one."""
        find = getattr(self.model, "get_output_embeddings", None)
        return None if find is None else find()

    @property
    def _body_config(self) -> Any:
        """The sizes of `body`."""
        return getattr(self.model, "config", None)

    @property
    def _embedding(self) -> nn.Embedding:
        """The layer that turns token ids into input embeddings."""
        return self.model.get_input_embeddings()

    def _rows(self) -> int:
        """How many tokens the embedding table holds. Raises UsageError where there is none."""
        try:
            return int(self._embedding.weight.shape[0])
        except (AttributeError, NotImplementedError) as err:
            raise UsageError(
                f"{self.name}: {type(self.model).__name__} has no table of token embeddings: {REMEDY}"
            ) from err

    @property
    def spare_ids(self) -> range:
        """The rows of the embedding table that no token of the tokenizer has: padding, never trained."""
        return range(self.tokenizer.vocab_size, self._rows())

    @property
    def embedding_size(self) -> int:
        """d, the size of one input embedding."""
        return self._embedding.weight.shape[1]

    @property
    def max_tokens(self) -> int | None:
        """The longest text, special tokens included, that the model has positions for; None where it does not say."""
        return self._most_tokens

    @cached_property
    def _most_tokens(self) -> int | None:
        return max_tokens(self.model)

    @property
    def device(self) -> torch.device:
        """Where the embedding table, and with it the model's input, lives."""
        return self._embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the embeddings."""
        return self._embedding.weight.dtype

    @property
    def fingerprint(self) -> str:
        """sha256 over the embedding table, as float32, and the tokenizer; computed once."""
        if self._fingerprint is None:
            table = self.embedding_table().to("cpu", torch.float32).contiguous()
            digest = hashlib.sha256(table.numpy().data)
            digest.update(self.tokenizer.fingerprint.encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def batches(self, unit: str, size: int) -> AutoBatch:
        """How one kind of this model's work is cut into batches that fit in memory; what was found out is kept.

        Args:
            unit: what a row of the batch is, in the singular.
            size: rows of a batch at first.

        Raises:
            UsageError: a size below 1.
        """
        key = (unit, size, self.device.type)
        if key not in self._batches:
            self._batches[key] = AutoBatch(self.name, size, unit, most_rows(self.device, size))
        return self._batches[key]

    def train(self, mode: bool = True) -> "FrozenModel":
        """Stay in eval mode, whatever a training loop asks of its submodules."""
        return super().train(False)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [...] to input embeddings [..., d]."""
        return self._embedding(ids)

    def whole_ids(self, text: str) -> list[int]:
        """A text as token ids, special tokens around it included."""
        (ids,) = self.tokenizer.encode([text])
        return [*self.tokenizer.prefix_ids, *ids, *self.tokenizer.suffix_ids]

    def embedding_table(self) -> Tensor:
        """Input embeddings [V, d] of all tokens; rows that no token id reaches are cut off."""
        if type(self._embedding) is nn.Embedding:
            return self._embedding.weight[: self.tokenizer.vocab_size].detach()
        with torch.no_grad():
            return self.embed(torch.arange(self.tokenizer.vocab_size, device=self.device))


def as_words(tokenizer: AnyTokenizer) -> WordTokenizer:
    """A tokenizer of either kind as a WordTokenizer. Raises UsageError for a slow one."""
    return tokenizer if isinstance(tokenizer, WordTokenizer) else WordTokenizer(tokenizer)


def _check_ids(tokenizer: WordTokenizer, rows: int, name: str) -> None:
    """Every id that the tokenizer makes has to have a row; else UsageError."""
    mend = "give the tokenizer that belongs to these weights"
    if tokenizer.vocab_size > rows:
        raise UsageError(
            f"{name}: the tokenizer has {tokenizer.vocab_size} tokens but the embedding table has {rows} rows; {mend}"
        )
    around = max((*tokenizer.prefix_ids, *tokenizer.suffix_ids), default=0)
    if around >= rows:
        raise UsageError(
            f"{name}: the tokenizer puts token {around} around every text but the embedding table has {rows} rows; "
            f"{mend}"
        )
