"""One short text through a model that was loaded: what cannot be used is told at once, and by name."""

from typing import TypeVar

import torch
from torch import Tensor

from fuse_repro.errors import UsageError, first_line
from fuse_repro.models.base import REMEDY, FrozenModel
from fuse_repro.models.metering import unmetered

Model = TypeVar("Model", bound=FrozenModel)
TEXT = "a cat on a table"
CLOSE = 0.05  # of the largest output: what rounding of 8 bits may come to
SAME = 1e-3  # the same in float32, for outputs that go through the same products
PADDING = "reads a text otherwise where padding stands behind it"


def tried(model: Model, causal: bool = False) -> Model:
    """The model, if it reads a short text from input embeddings as it does from token ids.

    Args:
        model: a model that was loaded.
        causal: whether it must not look at the tokens that come after.

    Raises:
        UsageError: it cannot be given embeddings, does something else with them, or looks at later tokens or padding.
    """
    kind = f"{model.name}: {type(model.model).__name__}"
    try:
        with unmetered(), torch.no_grad():
            fault = _fault(model, causal)
    except Exception as err:
        raise UsageError(
            f"{kind} cannot be read from input embeddings alone ({first_line(err)[:200]}): {REMEDY}"
        ) from err
    if fault is not None:
        raise UsageError(f"{kind} {fault}")
    return model


def _fault(model: FrozenModel, causal: bool) -> str | None:
    """What the model does otherwise than it has to; None for nothing."""
    ids = torch.tensor([model.whole_ids(TEXT)], device=model.device)
    embeddings = model.embed(ids)
    close = SAME if model.dtype == torch.float32 else CLOSE
    found = _outputs(model.model(inputs_embeds=embeddings))
    if not torch.equal(embeddings, model.embed(ids)):
        return f"changes the input embeddings that it is given: {REMEDY}"
    if not agree(found, _outputs(model.model(input_ids=ids)), close):
        return f"does not read input embeddings as it reads the tokens that have them: {REMEDY}"
    # No token's embedding stands at the end: some models look up the tokens that embeddings belong to.
    other = torch.cat([embeddings[:, :-1], -4 * embeddings.mean(dim=1, keepdim=True)], dim=1)
    changed = _outputs(model.model(inputs_embeds=other))
    if causal and not agree(changed[:, :-1], found[:, :-1], close):
        return (
            "looks at the tokens that come after, as masked language models do: load it with "
            "fuse_repro.models.masked_lm.MaskedLM.load, or take a causal model"
        )
    real = torch.ones_like(ids)
    alone = model(embeddings, real)
    padded = torch.cat([embeddings, embeddings[:, :1]], dim=1)
    behind = model(padded, torch.cat([real, torch.zeros_like(real[:, :1])], dim=1))
    if not agree(behind[:, : ids.shape[1]] if behind.ndim == 3 else behind, alone, close):
        return f"{PADDING}: {REMEDY}"
    return None


def _outputs(output: object) -> Tensor:
    """The first output of a forward pass: logits, or hidden states."""
    first: Tensor = output[0]  # type: ignore[index]
    return first


def agree(found: Tensor, own: Tensor, close: float = CLOSE) -> bool:
    """Whether two outputs are the same but for rounding, as a share of the largest."""
    if own.shape != found.shape:
        return False
    found, own = found.float(), own.float()
    if not (found.isfinite().all() and own.isfinite().all()):
        return True  # half precision may overflow, either way
    return bool((found - own).abs().max() <= close * own.abs().max() + 1e-6)
