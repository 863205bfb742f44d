"""What a run against known truth measures, what it makes of records, and how it is shown."""

import copy
import re
from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from fuse_repro import schema
from fuse_repro.errors import UsageError
from fuse_repro.report.formats import Estimate, error
from fuse_repro.report.pages.known_truth import known_truth_content
from fuse_repro.runners.known_truth.points import make_plan
from fuse_repro.runners.known_truth.results import summary


@cache
def composed() -> DictConfig:
    schema.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(schema.config_folder())):
        return compose("config", overrides=["experiment=known_truth"])


def runner(*changes: tuple[str, object]) -> DictConfig:
    """The packaged settings with other values at these keys."""
    config = copy.deepcopy(composed())
    OmegaConf.set_struct(config, False)
    for key, value in changes:
        OmegaConf.update(config, f"runner.{key}", value, merge=False)
    return config.runner


def test_every_axis_changes_the_base_in_one_thing() -> None:
    plan = make_plan(runner(("seeds", [0, 1])))
    places = plan.places()
    assert len({place.id for place in places}) == len(places)
    base = plan.base
    for place in places:
        changed = [name for name in vars(base) if getattr(place.point, name) != getattr(base, name)]
        assert len(changed) <= 1
    points = 1 + sum(len(values) for values in plan.axes.values())
    assert len(places) == 2 * len(plan.truths) * points
    assert places[0].id == "tokens/wordpiece/noise=0/overlap=1/words=64/seed=0"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("source", "gpt2", "runner.source='gpt2' is not allowed: one of bpe, wordpiece, unigram"),
        (
            "base.overlap",
            2,
            "runner.base.overlap=2 is not allowed: 0 (no word is whole in both) to 1",
        ),
        ("base.tokenizer", "x", "runner.base.tokenizer='x' is not allowed: one of bpe"),
        ("axes.noise", [-1], "runner.axes.noise=[-1] is not allowed: each 0 to 1e+06"),
        ("axes.words", [0], "runner.axes.words=[0] is not allowed: each a whole number from 1"),
        ("axes.depth", [1], "runner.axes='depth' is not allowed: values of tokenizer, noise"),
        ("lengths", [], "runner.lengths=[] is not allowed: whole numbers of at least 1"),
        ("lengths", [0], "runner.lengths=[0] is not allowed: whole numbers of at least 1"),
        ("within", 0, "runner.within=0 is not allowed: at least 1"),
        ("seeds", [], "runner.seeds=[] is not allowed: whole numbers from 0"),
        ("broken", 1, "runner.broken=1 is not allowed: above 0 and below 1"),
        (
            "truths.sums.relation",
            "x",
            "runner.truths.sums.relation='x' is not allowed: one of places, sums",
        ),
        (
            "truths.sums.matrix",
            "x",
            "runner.truths.sums.matrix='x' is not allowed: one of rotation, general",
        ),
        (
            "truths.sums.target_size",
            99,
            "runner.truths.sums.target_size=99 is not allowed: at most source_size=24",
        ),
        ("truths.sums", 3, "runner.truths.sums=3 is not allowed: values of relation, matrix"),
        ("truths.sums.width", 3, "runner.truths.sums cannot be used:"),
    ],
)
def test_what_cannot_be_used_is_one_line(key: str, value: object, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        make_plan(runner((key, value)))
    assert "\n" not in str(caught.value)


def record(noise: float, words: int, seed: int, error: float, prompt: float | None = None) -> dict:
    """One map that is as far off as said for words of two tokens, and exact for others."""
    numbers = {"map": error, "cosine": 1.0, "scores": error}
    classes = {"1x1": numbers | {"gradient": 1e-8}, "1x2": numbers | {"gradient": error}}
    classes["1x5"] = numbers | {"gradient": 2.0}
    return {
        "id": f"{noise}/{words}/{seed}",
        "kind": "known_truth",
        "status": "done",
        "truth": "sums",
        "seed": seed,
        "tokenizer": "wordpiece",
        "noise": noise,
        "overlap": 1.0,
        "words": words,
        "fitted_on": {"1x1": words, "1x2": words, "1x5": words},
        "methods": {"ridge": {"prompt": prompt, "classes": classes}, "fuse": {"error": "no words"}},
    }


def test_results_say_where_a_map_breaks_and_the_page_shows_it() -> None:
    sums = {"sums": composed().runner.truths.sums}
    plan = make_plan(runner(("seeds", [0, 1]), ("truths", sums)))
    records = [
        record(noise, words, seed, error * 4**seed, 0.5)
        for noise, words, error in ((0.0, 64, 0.01), (0.1, 64, 0.02), (1.0, 64, 0.3), (0.0, 8, 0.9))
        for seed in (0, 1)
    ]
    results = summary(records, plan)
    found = results["truths"]["sums"]
    assert found["base"]["ridge"]["gradient"] == {
        "mean": pytest.approx((0.01 / 2 * 0.04 / 2) ** 0.5, rel=1e-4),
        "low": pytest.approx(0.005, rel=1e-4),
        "high": pytest.approx(0.02, rel=1e-4),
        "count": 2,
    }
    assert found["base"]["ridge"]["worst"]["mean"] == pytest.approx(0.02)
    assert found["base"]["ridge"]["short"]["mean"] == pytest.approx(1e-8)
    assert found["base"]["ridge"]["prompt"]["mean"] == pytest.approx(0.5)
    assert found["breaks"]["ridge"] == {"noise": 1.0, "overlap": None, "words": 8.0, "length": 5.0}
    assert found["breaks"]["fuse"]["noise"] == 0.0
    assert found["errors"] == {"fuse": "0.0/64/0: no words"}
    page = known_truth_content(records, results)["truths"]["sums"]
    head, rows = page["breaks"]
    assert head[-4:] == ["noise from", "overlap down to", "words down to", "tokens per word from"]
    assert [row[0] for row in rows] == ["ridge", "fuse"]
    assert rows[0][-4:] == ["1", "–", "8", "5"]
    assert rows[1][-4:] == ["at once", "at once", "at once", "at once"]
    assert page["holds"].startswith("The sum of a word's embeddings in the target")
    assert page["holds"].endswith("Embedding sizes: 24 to 16; matrix: general.")
    assert [plot.title.split(" against ")[0] for plot in page["gradients"]] == ["Error of the gradient"] * 4


def test_nothing_measured_is_said_with_the_reason() -> None:
    plan = make_plan(runner())
    failed = {"id": "x", "status": "failed", "error": "corpus: 2 different words"}
    with pytest.raises(UsageError, match="nothing could be measured: corpus: 2 different words"):
        summary([failed], plan)


def test_errors_are_shown_as_powers_of_ten_where_they_are_small() -> None:
    assert error({"mean": 3.4e-8, "low": 1e-8, "high": 1e-7, "count": 2}) == Estimate("3e−8", "1e−8 to 1e−7")
    assert error({"mean": 0.5, "low": 0.5, "high": 0.5, "count": 1}) == Estimate("0.50", None)
    assert error(None) == "–"
