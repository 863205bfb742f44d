"""What the source still answers with a prompt that has been to the target and back."""

from collections.abc import Mapping
from statistics import fmean

import torch
from torch import Tensor

from fuse_repro.adapters.auto.choice import ROUND_TRIP, Choice, Judged, Rating
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.errors import UsageError, first_line


@torch.no_grad()
def choose_by_round_trip(
    there: Mapping[str, EmbeddingMap], back: Mapping[str, EmbeddingMap], prompt: Tensor, rating: Rating
) -> Choice:
    """Move a prompt there by every candidate and back by every candidate, and ask the source's development items.

    A candidate's value is the mean over all ways back. By its own way back alone, a map that loses nothing
    would look perfect, wherever it leads: a rotation, or no map at all.

    Args:
        there: name -> candidate from the source to the target.
        back: name -> candidate from the target to the source.
        prompt: the source's, [m, d_s].
        rating: asks the source.

    Raises:
        UsageError: no candidate can move the prompt there and back.
    """
    judged = []
    for name, forward in there.items():
        try:
            moved = forward.transfer(prompt)
            found = [rating(backward.transfer(moved)) for backward in back.values()]
            accuracy, loss = (fmean(values) for values in zip(*found, strict=True))
            judged.append(Judged(name, {"accuracy": accuracy, "loss": loss}, (accuracy, -loss)))
        except UsageError as error:
            judged.append(Judged(name, {}, error=first_line(error)))
    return Choice.among(ROUND_TRIP, judged)
