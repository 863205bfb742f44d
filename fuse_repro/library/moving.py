"""`fuse_repro.move_prompt`: a soft prompt from one model in memory to another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fuse_repro.adapters import Choice, EmbeddingMap
from fuse_repro.errors import require
from fuse_repro.library.packaged import Adapter, Folder, fit_of, given_map, words_of
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import SoftPrompt, for_model, peft_place, read_peft, save_peft
from fuse_repro.prompts.nearest import lonely
from fuse_repro.runners.transfer.arrival import Arrival, words_arrive
from fuse_repro.runners.transfer.choosing import chosen_map, fit_in_use
from fuse_repro.runners.transfer.methods import fit_map
from fuse_repro.runners.transfer.moving import MovedRow, moved, moved_rows
from fuse_repro.tasks import Exams

Prompt = Tensor | SoftPrompt | Folder


@dataclass(frozen=True)
class MovedPrompt:
    """A soft prompt that has been moved, with what to expect of it.

    Attributes:
        prompt: as the target reads it; `prompt.embeddings` is [m, d_t].
        rows: what became of every row: nearest words before and after, length, matching loss.
        arrival: how well words arrive that the map was not fitted on; None where that was not asked for, the map was
            given, or the models share too few words.
        adapter: the map, to move further prompts with.
        target: the model that the prompt is for.
        choice: what `auto` chose the map from, by words that the maps were not fitted on; None for a named map.
    """

    prompt: SoftPrompt
    rows: tuple[MovedRow, ...]
    arrival: Arrival | None
    adapter: EmbeddingMap
    target: FrozenModel
    choice: Choice | None = None

    @property
    def embeddings(self) -> Tensor:
        """The moved prompt [m, d_t], for `inputs_embeds`."""
        return self.prompt.embeddings

    @property
    def words(self) -> list[str]:
        """The target's nearest token to every row."""
        return [row.after.words[0][0] for row in self.rows]

    @property
    def loss(self) -> float | None:
        """The mean matching loss of the rows, in [0, 2]; None for a map that matches none."""
        losses = [row.matching_loss for row in self.rows if row.matching_loss is not None]
        return sum(losses) / len(losses) if losses else None

    def save(self, folder: Folder, base_model: str | None = None) -> None:
        """Write the prompt for `peft.PeftModel.from_pretrained(model, folder)`.

        Args:
            folder: made if missing.
            base_model: what PEFT shall load as the base model, a hub name or a folder; None for what transformers
                knows the target by.

        Raises:
            UsageError: the folder cannot be written.
        """
        known = self.target.name if self.target.weights else getattr(self.target.model, "name_or_path", "")
        save_peft(self.prompt, Path(folder), self.target, base_model or known or None)


@torch.no_grad()
def move_prompt(
    prompt: Prompt | Sequence[Prompt],
    source: FrozenModel | Sequence[FrozenModel],
    target: FrozenModel,
    *,
    adapter: Adapter = "relative",
    position: str = "prefix",
    weights: Sequence[float] | None = None,
    words: Sequence[str] | None = None,
    expect: bool = True,
    force: bool = False,
    cache_dir: Folder | None = None,
    seed: int = 0,
) -> MovedPrompt:
    """Move a soft prompt to another model, as `fuse-repro experiment=move` does.

    Args:
        prompt: [m, d_s], a SoftPrompt, or a folder that PEFT wrote; one for each source where there are several.
        source: the model that the prompt was tuned on; a sequence of several, for a map that takes several.
        target: the model that it is moved to.
        adapter: the name of a map (a file of conf/adapter), a fitted map from `source` to `target`, or the `fit` of a
            map's class.
        position: where a prompt given as a tensor stands: "prefix" (in front of everything, PEFT's place) or
            "postfix" (behind the text).
        weights: of the sources; 1 for each where None.
        words: that maps are fitted on, by those that need words; None for the command's.
        expect: fit the map once more without some words and say how these arrive.
        force: take a prompt as the source's although it was made for other weights or another tokenizer.
        cache_dir: where fitted maps are kept and found again; None keeps nothing.
        seed: of every random choice.

    Raises:
        UsageError: a prompt that does not fit its source, or models or settings that no map can be fitted with.
    """
    sources = [source] if isinstance(source, FrozenModel) else list(source)
    given = [prompt] if isinstance(prompt, Tensor | SoftPrompt | str | Path) else list(prompt)
    numbers = f"as many as there are sources, which are {len(sources)}"
    require(len(given) == len(sources), "prompts", len(given), numbers)
    prompts = [_read(one, lm, position, force) for one, lm in zip(given, sources, strict=True)]
    places = sorted({one.position for one in prompts})
    require(len(places) == 1, "position", places, "prompts that all stand at one place")
    fit = fit_of(adapter, seed)
    kept, each = None if cache_dir is None else Path(cache_dir), [1.0] * len(sources)
    each = each if weights is None else list(weights)
    expected = None
    if fit is None:
        given_one = given_map(adapter, sources, target)
        fitted, choice = chosen_map(given_one, sources[0], prompts[0], (), Exams())
    else:
        corpus = words_of(words)
        several = fit_map(fit, sources, target, corpus, kept, each)
        fitted, choice = chosen_map(several, sources[0], prompts[0], (), Exams())
        fit = fit_in_use(fit, several, choice)
        expected = words_arrive(fit, sources, target, corpus, kept, each, seed) if expect else None
    vectors, losses = moved(fitted, [one.embeddings for one in prompts])
    arrived = for_model(target, vectors, peft_place(target, prompts[0].position, "auto"))
    rows = moved_rows((sources[0], prompts[0]), (target, arrived), losses, lonely(target, seed))
    return MovedPrompt(arrived, tuple(rows), expected, fitted, target, choice)


def _read(prompt: Prompt, lm: FrozenModel, position: str, force: bool) -> SoftPrompt:
    """The prompt on the model's device.

    Raises:
        UsageError: it is of another model.
    """
    if isinstance(prompt, Tensor):
        prompt = SoftPrompt(prompt.detach(), position, lm.name)
    elif not isinstance(prompt, SoftPrompt):
        prompt = read_peft(Path(prompt))
    read = replace(prompt, fingerprint="") if force else prompt
    read.check_model(lm)
    return replace(read, embeddings=read.embeddings.float().to(lm.device))
