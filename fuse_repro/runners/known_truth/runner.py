"""Maps on made-up pairs of models for which the right gradient and the right soft prompt are known."""

from typing import Any

from omegaconf import DictConfig

from fuse_repro.errors import require
from fuse_repro.progress import bar
from fuse_repro.runners.assemble import corpus_words
from fuse_repro.runners.build import build_fit
from fuse_repro.runners.known_truth.measure import Measuring
from fuse_repro.runners.known_truth.module import KnownTruthModule
from fuse_repro.runners.known_truth.points import Place, make_plan
from fuse_repro.runners.shards import refuse_shards
from fuse_repro.runners.trainer import PREDICT, build_trainer, predict, said_left_out
from fuse_repro.runs.directory import RunDirectory


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Measure every pair that has no record yet; returns what results.json holds.

    The models are small tables, and stay on the CPU.

    Raises:
        UsageError: settings that cannot be used, and numbers of tokens that no word has.
    """
    refuse_shards(config)
    plan = make_plan(config.runner)
    fits = {name: build_fit(node) for name, node in config.methods.items()}
    require(bool(fits), "methods", {}, "at least one map, as +adapter@methods.lookup=lookup")
    measuring = Measuring(plan, corpus_words(config), fits)
    for truth in plan.truths:
        measuring.pair(Place(truth, plan.seeds[0], plan.base)).lexicon.check_lengths(plan.lengths)
    trainer = build_trainer(config.trainer, PREDICT, root=directory.path)
    directory.open(device="cpu", weights={})
    places = plan.places()
    module = KnownTruthModule(measuring, places, directory)
    directory.expect(len(places))
    if module.places:
        with bar("measuring against the truth", len(module.places)) as module.advance:
            predict(trainer, module)
    return module.results() | said_left_out(trainer)
