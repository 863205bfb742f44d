"""`fuse_repro.caption`: captions of photographs by two models in memory that were never trained together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from omegaconf import DictConfig

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.data.images import load_image
from fuse_repro.errors import require
from fuse_repro.library.packaged import Adapter, Folder, fit_of, given_map, packaged, words_of
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.text_encoder import DualEncoder
from fuse_repro.objectives import ImageMatchTerm
from fuse_repro.runners.build import build
from fuse_repro.runners.objective import PRIMARY, build_objective
from fuse_repro.runners.search.module import mean_targets, without_prefix
from fuse_repro.search import Optimizer, PromptProblem, SearchResult

if TYPE_CHECKING:
    from PIL.Image import Image

VISION = "vision"


@dataclass(frozen=True)
class Caption:
    """What was found for one photograph.

    Attributes:
        text: the caption, without the prefix that it had to begin with.
        prompt: the caption with its prefix.
        objective: what was minimised; captions of one photograph compare by it, lower is better.
        terms: fluency (nats per token) and image (cosine distance to the photograph), each raw and weighted.
        evaluations: how many captions were tried.
    """

    text: str
    prompt: str
    objective: float
    terms: Mapping[str, Mapping[str, float]]
    evaluations: int

    def __str__(self) -> str:
        return self.text


@torch.no_grad()
def caption(
    images: "Image | Folder | Sequence[Image | Folder]",
    language_model: CausalLM,
    image_text_model: DualEncoder,
    *,
    adapter: Adapter = "lookup",
    optimizer: str | Optimizer = "autodan",
    prefix: str = "An image of",
    fluency_weight: float = 1.0,
    image_weight: float = 10.0,
    words: Sequence[str] | None = None,
    cache_dir: Folder | None = None,
    seed: int = 0,
) -> "Caption | list[Caption]":
    """Caption photographs, as `fuse-repro experiment=caption` does.

    Args:
        images: a PIL image or the path of one; or a sequence of them, for a list of captions.
        language_model: writes the captions.
        image_text_model: says how well a caption fits a photograph.
        adapter: the name of a map (a file of conf/adapter), a fitted map from `language_model` to `image_text_model`,
            or the `fit` of a map's class. A map that is fitted once and given saves the fit of every further call.
        optimizer: the name of a search (a file of conf/optimizer), or one of `fuse_repro.search`.
        prefix: how every caption begins.
        fluency_weight: of the nats per token.
        image_weight: of the cosine distance to the photograph.
        words: that maps are fitted on, by those that need words; None for the command's.
        cache_dir: where fitted maps are kept and found again; None keeps nothing.
        seed: of every random choice.

    Returns:
        One caption for one image, a list for a sequence.

    Raises:
        UsageError: an image that cannot be read, or models or settings that cannot be used.
    """
    several = isinstance(images, Sequence) and not isinstance(images, str)
    given = list(cast(Sequence, images)) if several else [images]
    for name, model, kind in (
        ("language_model", language_model, CausalLM),
        ("image_text_model", image_text_model, DualEncoder),
    ):
        allowed = f"a {kind.__name__} of fuse_repro, made of a model and its tokenizer"
        require(isinstance(model, kind), name, type(model).__name__, allowed)
    photographs = [load_image(one) if isinstance(one, str | Path) else one for one in given]
    for one in photographs:
        require(hasattr(one, "convert"), "images", one, "PIL images, or the paths of photographs")
    config = packaged({"objective": "caption"}, cache_dir=cache_dir, seed=seed)
    search = _search_of(optimizer, cache_dir, seed)
    fitted = {}
    if search.uses_gradients:
        fitted = {VISION: _fitted(adapter, language_model, image_text_model, words, cache_dir, seed)}
    terms = _weighted(config.objective, fluency=fluency_weight, image=image_weight)
    objective = build_objective(terms, {PRIMARY: language_model, VISION: image_text_model}, fitted)
    found = []
    for photograph in photographs:
        targets = mean_targets(objective, ImageMatchTerm, [photograph])
        result = search.search(PromptProblem(language_model, objective, prefix, targets))
        found.append(_caption(result, prefix))
    return found if several else found[0]


def _search_of(optimizer: str | Optimizer, cache_dir: Folder | None, seed: int) -> Optimizer:
    """The search. Raises UsageError for one that tunes soft prompts, which find no text."""
    search = optimizer
    if isinstance(optimizer, str):
        node = packaged({"optimizer": optimizer}, cache_dir=cache_dir, seed=seed).optimizer
        search = build(node) if "_target_" in node else node
    require(
        hasattr(search, "search"), "optimizer", optimizer, "a search for texts, such as 'autodan' or 'gcg'"
    )
    return cast(Optimizer, search)


def _weighted(objective: DictConfig, **weights: float) -> DictConfig:
    """The objective with these weights of its terms."""
    for name, weight in weights.items():
        objective[name].weight = float(weight)
    return objective


def _fitted(
    adapter: Adapter,
    language_model: CausalLM,
    image_text_model: DualEncoder,
    words: Sequence[str] | None,
    cache_dir: Folder | None,
    seed: int,
) -> EmbeddingMap:
    """The map from the language model to the other one. Raises UsageError for a map of other models."""
    fit = fit_of(adapter, seed)
    if fit is not None:
        kept = None if cache_dir is None else Path(cache_dir)
        return fit(language_model, image_text_model, words_of(words), cache_dir=kept)
    return given_map(adapter, [language_model], image_text_model)


def _caption(result: SearchResult, prefix: str) -> Caption:
    best = result.best
    text = without_prefix(best.text, prefix)
    return Caption(text, best.text, best.objective, best.terms, result.evaluations)
