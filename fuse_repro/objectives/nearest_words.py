"""How natural the words nearest to a soft prompt are to a further language model."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.alignment.words import CARRIER
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.precision import full_precision
from fuse_repro.objectives.prompt_batch import PromptBatch
from fuse_repro.objectives.secondary_fluency import SecondaryFluencyTerm
from fuse_repro.prompts.batch import SoftPromptBatch


class NearestWordsFluencyTerm(nn.Module):
    """Mean negative log-likelihood, in nats per token, of the words nearest to the vectors of a soft prompt.

    The words are those that the prompt's own model writes as one token. Another model reads them. Its
    gradient by its own embeddings comes back through the adapter, as in a search of written prompts, and
    moves the vectors.

    Args:
        name: of the term, for messages.
        encoder: the causal language model that reads the words.
        adapter: from the prompt's own model to the encoder, such as FUSE's.

    Raises:
        UsageError: a model that is no causal language model, or no adapter.
    """

    def __init__(self, name: str, encoder: FrozenModel, adapter: EmbeddingMap | None = None) -> None:
        super().__init__()
        self._fluency = SecondaryFluencyTerm(name, encoder, adapter)
        if adapter is None:
            raise UsageError(
                f"objective.{name} needs a map that carries its gradient back to the prompt's model: set adapter=fuse"
            )
        self._owner = adapter.source
        self.register_buffer("tokens", _whole_words(adapter.source), persistent=False)

    tokens: Tensor

    def forward(self, batch: SoftPromptBatch) -> Tensor:
        """[B] nats per token."""
        own = self._owner
        tokenizer, device = own.tokenizer, batch.vectors.device
        words = [[int(token) for token in row] for row in self._nearest(batch.vectors)]
        carrier = tokenizer.encode([CARRIER])[0]
        texts = tokenizer.decode([[*carrier, *row] for row in words])
        start = own.embed(torch.tensor(carrier, device=device)).to(batch.vectors)
        embeddings = torch.cat([start.expand(len(texts), -1, -1), batch.vectors], dim=1)
        values: Tensor = self._fluency(PromptBatch(texts, embeddings=embeddings))
        return values

    @torch.no_grad()
    def _nearest(self, vectors: Tensor) -> Tensor:
        """[B, m] tokens: the word nearest to every vector, by the cosine as seen from the words' mean."""
        table = self._owner.embed(self.tokens).float()
        centre = table.mean(0)
        with full_precision(table.device):
            cosines = normalize(vectors.float() - centre, dim=2) @ normalize(table - centre, dim=1).T
        return self.tokens[cosines.argmax(2)]


def _whole_words(model: FrozenModel) -> Tensor:
    """The tokens that stand for a word after a space and come back from their own text: [T]."""
    tokenizer = model.tokenizer
    carrier = tokenizer.encode([CARRIER])[0]
    tokens = [token for token in range(tokenizer.vocab_size) if token not in tokenizer.special_ids]
    texts = tokenizer.decode([[*carrier, token] for token in tokens])
    spaced = [(token, text) for token, text in zip(tokens, texts, strict=True) if len(text.split()) == 2]
    again = tokenizer.encode([text for _, text in spaced])
    kept = [token for (token, _), ids in zip(spaced, again, strict=True) if ids == [*carrier, token]]
    return torch.tensor(kept, device=model.device)
