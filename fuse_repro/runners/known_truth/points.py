"""The pairs of models that a run measures: one of every truth, and others that differ from it in one thing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from omegaconf import DictConfig

from fuse_repro.errors import UsageError, require
from fuse_repro.runners.build import blamed
from fuse_repro.runners.known_truth.pair import Truth
from fuse_repro.runners.known_truth.tokenizers import KINDS
from fuse_repro.runners.values import check_settings

MOST_NOISE, MOST_WORDS = 1e6, 100_000


@dataclass(frozen=True)
class Point:
    """One pair of models, but for its truth and seed.

    Attributes:
        tokenizer: kind of the target's.
        noise: standard deviation of what is added to the target's embeddings, whose own values have about 1.
        overlap: share of the source's whole words that the target has, too.
        words: that maps are fitted on, of each pair of token counts.
    """

    tokenizer: str
    noise: float
    overlap: float
    words: int

    def __post_init__(self) -> None:
        for name, test in CHECKS.items():
            allowed, good = test
            require(good(getattr(self, name)), name, getattr(self, name), allowed)


CHECKS: Mapping[str, tuple[str, Any]] = {
    "tokenizer": (f"one of {', '.join(KINDS)}", lambda value: value in KINDS),
    "noise": (f"0 to {MOST_NOISE:g}", lambda value: 0 <= value <= MOST_NOISE),
    "overlap": ("0 (no word is whole in both) to 1", lambda value: 0 <= value <= 1),
    "words": (f"a whole number from 1 to {MOST_WORDS}", lambda value: 1 <= value <= MOST_WORDS),
}
AXES = tuple(CHECKS)


@dataclass(frozen=True)
class Place:
    """What one record is about.

    Attributes:
        truth: its name.
        seed: of everything random.
        point: the pair.
    """

    truth: str
    seed: int
    point: Point

    @property
    def id(self) -> str:
        """The id of its record."""
        own = self.point
        coordinates = f"noise={own.noise:g}/overlap={own.overlap:g}/words={own.words}"
        return f"{self.truth}/{own.tokenizer}/{coordinates}/seed={self.seed}"


class KnownTruthSettings:
    """What conf/runner/known_truth.yaml holds."""

    source: str
    base: Mapping[str, Any]
    axes: Mapping[str, Any]
    lengths: Sequence[int]
    within: int
    seeds: Sequence[int]
    broken: float
    truths: Mapping[str, Any]


class _Axes:
    tokenizer: Sequence[str]
    noise: Sequence[float]
    overlap: Sequence[float]
    words: Sequence[int]


@dataclass(frozen=True)
class Plan:
    """A run's settings, checked; as in conf/runner/known_truth.yaml.

    Attributes:
        source: kind of the source's tokenizer.
        base: the pair that the others differ from in one thing.
        axes: what changes -> its values.
        lengths: target tokens per word.
        within: the longest words that maps are fitted for.
        seeds: every pair is made with each.
        broken: relative error of one class of words above which a map counts as broken.
        truths: name -> what is known.
    """

    source: str
    base: Point
    axes: Mapping[str, Sequence[Any]]
    lengths: tuple[int, ...]
    within: int
    seeds: tuple[int, ...]
    broken: float
    truths: Mapping[str, Truth]

    def places(self) -> list[Place]:
        """Every record's place, truth after truth; what several axes have in common stands there once."""
        changed = [
            replace(self.base, **{axis: value}) for axis, values in self.axes.items() for value in values
        ]
        points = dict.fromkeys([self.base, *changed])
        return [Place(truth, seed, point) for truth in self.truths for seed in self.seeds for point in points]

    def most_words(self) -> int:
        """The words of a class, at most."""
        return max([self.base.words, *self.axes.get("words", [])])


def make_plan(runner: DictConfig) -> Plan:
    """The settings of a run.

    Raises:
        UsageError: a value of another kind or out of range, or a key that there is not.
    """
    check_settings("runner", runner, KnownTruthSettings)
    require(runner.source in KINDS, "runner.source", runner.source, f"one of {', '.join(KINDS)}")
    lengths, seeds = list(runner.lengths), list(runner.seeds)
    good = bool(lengths) and min(lengths) >= 1
    require(good, "runner.lengths", lengths, "whole numbers of at least 1, and at least one of them")
    require(runner.within >= 1, "runner.within", runner.within, "at least 1")
    good = bool(seeds) and all(0 <= seed < 2**31 for seed in seeds)
    require(good, "runner.seeds", seeds, "whole numbers from 0 to 2147483647, and at least one of them")
    good_share = 0 < runner.broken < 1
    require(good_share, "runner.broken", runner.broken, "above 0 and below 1")
    require(bool(runner.truths), "runner.truths", {}, "at least one truth")
    return Plan(
        source=runner.source,
        base=_made("runner.base", runner.base, Point),
        axes=_axes(runner.axes),
        lengths=tuple(dict.fromkeys(lengths)),
        within=runner.within,
        seeds=tuple(dict.fromkeys(seeds)),
        broken=runner.broken,
        truths={name: _made(f"runner.truths.{name}", node, Truth) for name, node in runner.truths.items()},
    )


def _axes(node: DictConfig) -> dict[str, list[Any]]:
    """The axes' values, each of which the base could have."""
    found: dict[str, list[Any]] = {}
    check_settings("runner.axes", node, _Axes)
    for axis, values in ((str(name), values) for name, values in node.items()):
        key = f"runner.axes.{axis}"
        require(axis in AXES, "runner.axes", axis, f"values of {', '.join(AXES)}")
        found[axis] = list(values)
        allowed, test = CHECKS[axis]
        require(all(test(value) for value in values), key, list(values), f"each {allowed}")
    return found


def _made(key: str, node: Any, kind: type) -> Any:
    """An instance of a settings class, with the whole key of a value that is wrong."""
    if not isinstance(node, DictConfig):
        require(False, key, node, f"values of {', '.join(field.name for field in fields(kind))}")
    check_settings(key, node, kind)
    try:
        return kind(**node)
    except UsageError as error:
        raise blamed(error, key) from error
    except TypeError as error:
        raise UsageError(f"{key} cannot be used: {error}") from error
