"""How faithful predicted changes are: the true objective of a large sample of candidates against every prediction."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.alignment.token_pieces import token_texts
from fuse_repro.errors import UsageError, require
from fuse_repro.metrics.fidelity import sample_k
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.progress import bar
from fuse_repro.runners.assemble import CAUSAL, check_kind, corpus_words, load_models, weight_files
from fuse_repro.runners.build import Fit, blamed, build, build_data, build_fit
from fuse_repro.runners.fidelity.instrument import Candidates, Instrument
from fuse_repro.runners.fidelity.methods import Combination, check_methods
from fuse_repro.runners.fidelity.module import AdapterFidelityModule
from fuse_repro.runners.fidelity.prompts import (
    PLACES,
    SPLITS,
    FidelityPrompt,
    Sentence,
    caption_sentences,
    choose,
    cut,
    text_sentences,
)
from fuse_repro.runners.objective import PRIMARY, build_objective, term_weights
from fuse_repro.runners.shards import refuse_shards
from fuse_repro.runners.trainer import PREDICT, build_trainer, predict, said_left_out
from fuse_repro.runners.values import check_settings
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.shown import say
from fuse_repro.weights import cache_folder

LEAST = {"lengths": 0, "prompts": 1, "texts_stride": 1, "candidates": 1, "ks": 1}


class FidelitySettings:
    """What conf/runner/fidelity.yaml holds."""

    prefix: str
    lengths: Sequence[int]
    places: Sequence[str]
    split: str
    prompts: int
    texts: str | None
    texts_stride: int
    candidates: int
    ks: Sequence[int]
    baselines: Sequence[str]
    points: Mapping[str, Any]
    combinations: Mapping[str, Any] | None


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Measure every prompt that has no record yet; returns what results.json holds.

    Raises UsageError for settings, models or data that cannot be used together.
    """
    check_settings("runner", config.runner, FidelitySettings)
    check_config(config)
    refuse_shards(config)
    fits = {name: build_fit(node) for name, node in config.methods.items()}
    require(bool(fits), "methods", {}, "at least one map, as +adapter@methods.lookup=lookup")
    points = {name: build(node) for name, node in config.runner.points.items()}
    combined = combinations(config.runner.combinations or {})
    check_methods(list(fits), list(points), combined, config.runner.baselines)
    words = corpus_words(config)
    config = _measurable(config)
    check_kind(config, PRIMARY, CausalLM, "models.lm", CAUSAL)
    trainer = build_trainer(config.trainer, PREDICT, root=directory.path)
    sentences = _sentences(config)
    device = trainer.strategy.root_device
    models = load_models(config, device)
    require(isinstance(models[PRIMARY], CausalLM), "models.lm", models[PRIMARY].name, CAUSAL)
    lm = cast(CausalLM, models[PRIMARY])
    candidates = _candidates(lm, config.runner.candidates, config.seed)
    for k in config.runner.ks:
        sample_k(k, len(candidates.ids), candidates.pool)
    directory.open(device=str(device), weights=weight_files(models))
    maps, seconds = _fit(fits, models, words, cache_folder(config.cache_dir))
    first = {role: next(iter(fitted.values())) for role, fitted in maps.items()}
    instrument = Instrument(
        lm=lm,
        objective=build_objective(config.objective, models, first),
        maps=maps,
        roles={name: term.model for name, term in config.objective.items()},
        points=points,
        combinations=combined,
        baselines=list(config.runner.baselines),
        candidates=candidates,
        ks=list(config.runner.ks),
        seed=config.seed,
    )
    module = AdapterFidelityModule(instrument, models, _prompts(config, sentences, lm), directory)
    total = sum(len(module.missing(prompt)) for prompt in module.prompts)
    directory.expect(sum(len(instrument.objectives(prompt)) for prompt in module.prompts))
    with bar("measuring fidelity", total) as module.advance:
        predict(trainer, module)
    costs = {
        f"{name} to {role}": fitted.fit_cost
        for role, own in maps.items()
        for name, fitted in own.items()
        if fitted.fit_cost
    }
    timing = {"fit_seconds": seconds} | ({"training": costs} if costs else {})
    return module.results() | said_left_out(trainer) | {"timing": timing}


def check_config(config: DictConfig) -> None:
    """What can be told of the runner's values before anything is made.

    Raises:
        UsageError: a number out of range, or a split or place that there is not.
    """
    runner = config.runner
    for name, least in LEAST.items():
        given = runner[name] if isinstance(runner[name], int) else list(runner[name])
        smallest = given if isinstance(given, int) else min(given, default=-1)
        require(smallest >= least, f"runner.{name}", given, f"at least {least}, and at least one number")
    require(runner.split in SPLITS, "runner.split", runner.split, f"one of {', '.join(SPLITS)}")
    unknown = sorted(set(runner.places) - set(PLACES))
    require(
        not unknown and bool(runner.places),
        "runner.places",
        list(runner.places),
        f"any of {', '.join(PLACES)}",
    )


def combinations(nodes: Mapping[str, Any]) -> dict[str, Combination]:
    """The combinations of the runner, by name.

    Raises:
        UsageError: a value of another kind or out of range, a key that there is not, or one that is missing.
    """
    made = {}
    for name, node in nodes.items():
        key = f"runner.combinations.{name}"
        require(isinstance(node, DictConfig), key, node, "map, points, zeroth, zeroth_weight and calibrated")
        check_settings(key, node, Combination)
        try:
            made[name] = Combination(**node)
        except UsageError as error:
            raise blamed(error, key) from error
        except TypeError as error:
            raise UsageError(f"{key} cannot be used: {error}") from error
    return made


def _measurable(config: DictConfig) -> DictConfig:
    """The config without the primary model's own terms: no map carries their gradients. Says once which those are.

    Raises UsageError where no other term is left.
    """
    weights = term_weights(config.objective)
    own = [name for name in weights if config.objective[name].get("model") == PRIMARY]
    require(
        len(own) < len(weights),
        "objective",
        list(weights),
        f"at least one term of another model than models.{PRIMARY}: only between two models is there a map",
    )
    if not own:
        return config
    listed = ", ".join(own)
    say(f"not measured: {listed} (a term of models.{PRIMARY}, whose gradient no map carries)")
    kept = {name: term for name, term in config.objective.items() if name not in own}
    return cast(DictConfig, OmegaConf.merge(config, {"objective": None}, {"objective": kept}))


def _sentences(config: DictConfig) -> list[Sentence]:
    """What prompts are cut from, as many of every corpus as asked for."""
    runner = config.runner
    words = max(*runner.lengths, 1)
    data = build_data(config.dataset)
    data.setup("predict")
    found = choose(caption_sentences(data.items, words), runner.split, runner.prompts)
    if runner.texts is not None:
        texts = text_sentences(Path(runner.texts), words)
        found += choose(texts, runner.split, runner.prompts, stride=runner.texts_stride)
    require(bool(found), "dataset", config.dataset.get("path"), f"photographs with captions of {words} words")
    return found


def _prompts(config: DictConfig, sentences: Sequence[Sentence], lm: CausalLM) -> list[FidelityPrompt]:
    runner = config.runner
    cuts = [
        cut(sentence, place, length, runner.prefix, lm.tokenizer)
        for sentence in sentences
        for place in runner.places
        for length in runner.lengths
    ]
    return [prompt for prompt in cuts if prompt is not None]


def _candidates(lm: CausalLM, count: int, seed: int) -> Candidates:
    """A random sample of the tokens that are printable ASCII, in random order."""
    ids = [token for token in range(lm.tokenizer.vocab_size) if token not in lm.tokenizer.special_ids]
    texts = token_texts(lm.tokenizer, ids)
    kept = [token for token, text in zip(ids, texts, strict=True) if text.strip() and _plain(text)]
    order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))[:count]
    return Candidates(torch.tensor(kept)[order], len(kept))


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _fit(
    fits: Mapping[str, Fit], models: Mapping[str, FrozenModel], words: tuple[str, ...], cache: Path
) -> tuple[dict[str, dict[str, EmbeddingMap]], dict[str, float]]:
    """Every map to every model, and how long each took: role -> name -> map; "name to role" -> seconds."""
    maps: dict[str, dict[str, EmbeddingMap]] = {}
    seconds = {}
    for role, model in models.items():
        for name, fit in fits.items() if role != PRIMARY else ():
            begun = time.perf_counter()
            maps.setdefault(role, {})[name] = fit(models[PRIMARY], model, words, cache_dir=cache)
            seconds[f"{name} to {role}"] = time.perf_counter() - begun
    return maps, seconds
