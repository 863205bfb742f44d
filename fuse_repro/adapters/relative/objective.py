"""How far a target prompt's relative representation is from that of a source prompt (PTfer, eq. 5 and 7)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fuse_repro.errors import UsageError, require
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts.batch import SoftPromptBatch


class RelativeMatchTerm(nn.Module):
    """Cosine distance 1 - cos(r_source, r_target), in [0, 2], averaged over the vectors of a prompt (eq. 5).

    Args:
        name: of the term; the batch has the source's relative representation under it.
        encoder: the source model; None where the term is used without models.
        adapter: the fitted RelativePromptTransfer, for the interface that all terms share; what it knows of
            the anchors comes with the batch.
    """

    def __init__(
        self, name: str, encoder: FrozenModel | None = None, adapter: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self._models = (encoder,)

    @property
    def source(self) -> FrozenModel | None:
        """The model whose prompt is matched."""
        return self._models[0]

    def forward(self, batch: SoftPromptBatch) -> Tensor:
        """[B] cosine distances.

        Raises:
            UsageError: a batch of other vectors or anchors, or without this source.
        """
        return self.rows(batch).mean(1)

    def rows(self, batch: SoftPromptBatch) -> Tensor:
        """The distance of every vector: [B, m].

        Raises:
            UsageError: a batch of other vectors or anchors, or without this source.
        """
        reference, mask, encoding = batch.references.get(self.name), batch.mask, batch.encoding
        if reference is None or mask is None or encoding is None:
            raise UsageError(
                f"the term {self.name!r} matches prompts that are moved: leave it out of other objectives"
            )
        shapes = (tuple(encoding.shape[-2:]), tuple(mask.shape[-2:]), tuple(reference.shape[-2:]))
        require(
            len(set(shapes)) == 1,
            "encoding shape",
            shapes[0],
            f"as the source prompt's, which has {shapes[1]}",
        )
        return 1.0 - (reference * normalize(encoding * mask, dim=-1)).sum(-1)


def matching_objective(weights: Mapping[str, float]) -> MultiObjectiveLoss:
    """Eq. 7 alone: one match per source, by name, each with its weight."""
    return MultiObjectiveLoss({name: RelativeMatchTerm(name) for name in weights}, weights)


def match_terms(objective: MultiObjectiveLoss) -> dict[str, RelativeMatchTerm]:
    """The objective's matches that count, by name."""
    terms = objective.terms.items()
    return {
        name: term
        for name, term in terms
        if isinstance(term, RelativeMatchTerm) and objective.weights[name] > 0
    }


def other_terms(objective: MultiObjectiveLoss) -> list[str]:
    """The names of the objective's terms that count and are no matches."""
    matches = match_terms(objective)
    return [name for name, weight in objective.weights.items() if weight > 0 and name not in matches]


def names_of_sources(objective: MultiObjectiveLoss, sources: Sequence[FrozenModel]) -> list[str]:
    """The name of the match of every source, in their order.

    Raises:
        UsageError: a source without a match, or a match of another model.
    """
    owners = {id(term.source): name for name, term in match_terms(objective).items()}
    lacking = [model.name for model in sources if id(model) not in owners]
    require(
        not lacking,
        "objective",
        list(objective.terms),
        f"one with a match of every source; {lacking} has none",
    )
    require(
        len(owners) == len(sources),
        "objective",
        list(objective.terms),
        "one with matches of the sources alone",
    )
    return [owners[id(model)] for model in sources]


def row_losses(objective: MultiObjectiveLoss, batch: SoftPromptBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """The matches of every vector of one prompt: their weighted sum [m], and each [m] by name."""
    raw = {name: term.rows(batch)[0] for name, term in match_terms(objective).items()}
    weighted = [objective.weights[name] * values for name, values in raw.items()]
    return torch.stack(weighted).sum(0), raw
