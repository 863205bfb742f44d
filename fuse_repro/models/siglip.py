"""SigLIP dual encoders (Zhai et al. 2023) whose text tower takes embeddings."""

from typing import Any

import torch
from torch import Tensor, nn

from fuse_repro.models.base import AnyTokenizer, as_words
from fuse_repro.models.clip import ClipDualEncoder, load_dual_encoder


class SiglipDualEncoder(ClipDualEncoder):
    """A frozen SigLIP; its arguments are those of `ClipDualEncoder`, with a transformers `SiglipModel`.

    The text tower was trained on texts filled up to its full length with the padding token, which it attends
    to, and reads the embedding at the last position. Every text is filled up like that here. Those texts were in
    lower case, which not every tokenizer file of SigLIP 2 says; texts are lower-cased here in any case.
    """

    def __init__(self, model: nn.Module, tokenizer: AnyTokenizer, *arguments: Any, **keywords: Any) -> None:
        super().__init__(model, as_words(tokenizer).lower_cased(), *arguments, **keywords)

    @classmethod
    def load(
        cls, name: str, source: str, *, dtype: str = "float32", **source_kwargs: Any
    ) -> "SiglipDualEncoder":
        """As `ClipDualEncoder.load`.

        The tokenizer must be a fast one: SigLIP 2's is, the first SigLIP's is not.
        """
        from transformers import SiglipImageProcessorPil, SiglipModel

        return load_dual_encoder(
            cls, SiglipModel, SiglipImageProcessorPil, name, source, dtype, source_kwargs
        )

    @property
    def output_size(self) -> int:
        """e, the size of the space that texts and images share."""
        return self.model.config.text_config.projection_size

    def _pool(self, embeddings: Tensor, lengths: Tensor | None) -> Tensor:
        """Whole texts [B, S, d] to projected states [B, e] of the last of `max_tokens` positions."""
        tower = self.model.text_model
        hidden = tower.embeddings(inputs_embeds=self._filled(embeddings, lengths))
        hidden = tower.encoder(inputs_embeds=hidden, attention_mask=None).last_hidden_state
        return tower.head(tower.final_layer_norm(hidden)[:, -1])

    def _filled(self, embeddings: Tensor, lengths: Tensor | None) -> Tensor:
        """[B, S, d] to [B, max_tokens, d], with the padding token's embedding after each row's real tokens."""
        batch, size, width = embeddings.shape
        padding = torch.tensor(self.tokenizer.tokenizer.pad_token_id, device=embeddings.device)
        row = self.embed(padding).to(embeddings)
        whole = torch.cat((embeddings, row.expand(batch, self.max_tokens - size, width)), dim=1)
        if lengths is None:
            return whole
        real = torch.arange(self.max_tokens, device=embeddings.device) < lengths[:, None]
        return torch.where(real[..., None], whole, row)
