"""`hydra/sweeper=optuna`: a search over values by Optuna, whose journal in the sweep directory lets it go on."""

import contextlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer
from omegaconf import MISSING

from fuse_repro.errors import UsageError, require
from fuse_repro.runs.directory import RESULTS
from fuse_repro.runs.files import read_json
from fuse_repro.shown import shown
from fuse_repro.sweeps.compose import last_overrides
from fuse_repro.sweeps.grid import PointSweeper
from fuse_repro.sweeps.outcome import conclude
from fuse_repro.sweeps.sweep import Point

if TYPE_CHECKING:
    import optuna

Space = dict[str, "optuna.distributions.BaseDistribution"]

JOURNAL = "optuna.jsonl"
SAMPLERS = ("tpe", "random", "nsga2")
DIRECTIONS = ("minimize", "maximize")


class OptunaSweeper(PointSweeper):
    """Asks Optuna for points, runs them by the launcher and tells it their metrics.

    A trial that an earlier start left unfinished or that failed is asked for again, so that its run goes on.
    """

    def __init__(
        self, params: Mapping[str, str], metrics: Any, n_trials: int, n_jobs: int, sampler: str, seed: int
    ) -> None:
        example = "KEY OF results.json: minimize or maximize, such as {objective.terms.image.raw: minimize}"
        given = metrics not in (None, MISSING) and isinstance(metrics, Mapping) and len(metrics) > 0
        require(given, "hydra.sweeper.metrics", metrics, example)
        known = all(direction in DIRECTIONS for direction in metrics.values())
        require(known, "hydra.sweeper.metrics", dict(metrics), example)
        require(sampler in SAMPLERS, "hydra.sweeper.sampler", sampler, f"one of {', '.join(SAMPLERS)}")
        require(n_trials >= 1, "hydra.sweeper.n_trials", n_trials, "at least 1")
        require(n_jobs >= 1, "hydra.sweeper.n_jobs", n_jobs, "at least 1")
        self.params, self.metrics = dict(params), {str(key): str(way) for key, way in metrics.items()}
        self.n_trials, self.n_jobs, self.sampler, self.seed = n_trials, n_jobs, sampler, seed

    def sweep(self, arguments: list[str]) -> Any:
        """Search until `n_trials` trials have ended well.

        Raises:
            UsageError: if there is nothing that Optuna can search over, or Optuna is not installed.
            SweepIncomplete: if a point is not done.
        """
        fixed, space = search_space(self.params, arguments, self.loader)
        if self.config is not None and self.config.get("dry_run"):
            self._print_costs(first_point(fixed, space))
            return None
        study = self._study()
        _ask_again(study)
        left = self.n_trials - _ended_well(study)
        while left > 0:
            trials = [study.ask(space) for _ in range(min(self.n_jobs, left))]
            jobs = [[*fixed, *(f"{key}={_typed(trial.params[key])}" for key in space)] for trial in trials]
            results = self.launcher.launch(jobs, trials[0].number)
            for trial, result in zip(trials, results, strict=True):
                values = self._values(result._return_value)
                state = None if values else _state("FAIL")
                study.tell(trial, values, state=state)
            left -= len(trials)
        conclude(self.launcher.sweep)
        return study

    def _print_costs(self, point: Sequence[str]) -> None:
        """Say what the search would cost: so many trials, each like this point."""
        count = self.n_trials
        print(
            f"hydra/sweeper=optuna: {count} trials in all; the search costs {count} times what one trial does, such as "
            f"{shown(' '.join(point))}:",
            flush=True,  # before what follows, which another object writes
        )
        self.launcher.print_costs([point])

    def _study(self) -> "optuna.Study":
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        if self.launcher.leaves_early:
            raise UsageError("hydra/sweeper=optuna learns from the points: it needs hydra.launcher.wait=true")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers = {
            "tpe": optuna.samplers.TPESampler,
            "random": optuna.samplers.RandomSampler,
            "nsga2": optuna.samplers.NSGAIISampler,
        }
        sweep = self.launcher.sweep
        sweep.add([])
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(sweep.directory / JOURNAL))),
            sampler=samplers[self.sampler](seed=self.seed),
            study_name=sweep.id,
            directions=list(self.metrics.values()),  # type: ignore[arg-type]
            load_if_exists=True,
        )

    def _values(self, result: Any) -> list[float] | None:
        """The metrics of a point; None if it is not done.

        Raises:
            UsageError: if its results have no such key.
        """
        if not isinstance(result, Point):
            return None
        results = read_json(result.directory / RESULTS)
        return [metric(results, key) for key in self.metrics]


def search_space(
    params: Mapping[str, Any], arguments: Sequence[str], loader: ConfigLoader
) -> tuple[list[str], Space]:
    """What every trial has, and what each key is drawn from.

    Args:
        params: key -> values of the named grids.
        arguments: the overrides of the command; those of a key that is in `params` replace it.
        loader: knows the options of groups.

    Raises:
        UsageError: if nothing is searched over, if values are of no kind that Optuna draws from, or without
            Optuna.
    """
    overrides = {o.get_key_element(): o for o in last_overrides(params, arguments, loader)}
    searched = {key: o for key, o in overrides.items() if o.is_sweep_override()}
    if not searched:
        raise UsageError("nothing to search over: give KEY=interval(A,B), KEY=choice(A,B) or KEY=range(A,B)")
    _need_optuna()
    fixed = [str(o.input_line) for key, o in overrides.items() if key not in searched]
    return fixed, {key: distribution(override) for key, override in searched.items()}


def first_point(fixed: Sequence[str], space: Space) -> list[str]:
    """The overrides of the trial of every key's first or lowest value."""
    return [*fixed, *(f"{key}={_typed(_first(values))}" for key, values in space.items())]


def _need_optuna() -> None:
    """Refuse to go on without Optuna.

    Raises:
        UsageError: if it is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("hydra/sweeper=optuna needs optuna: install it by pip install 'fuse_repro[optuna]'")


def _first(values: "optuna.distributions.BaseDistribution") -> Any:
    """The first of several choices, or the lower end of an interval."""
    from optuna.distributions import CategoricalDistribution

    return values.choices[0] if isinstance(values, CategoricalDistribution) else values.low  # type: ignore[attr-defined]


def distribution(override: Override) -> "optuna.distributions.BaseDistribution":
    """What Optuna draws a value from.

    Raises:
        UsageError: for a sweep that is none of its kinds.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        if not value.start < value.end:  # type: ignore[operator]
            raise UsageError(f"{override.input_line} is empty: its first number must be below its second")
        low, high = value.start, value.end
        log = "log" in value.tags
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)  # type: ignore[arg-type]
    if isinstance(value, RangeSweep | ChoiceSweep):
        return CategoricalDistribution(list(override.sweep_iterator(Transformer.encode)))  # type: ignore[arg-type]
    raise UsageError(
        f"{override.input_line} cannot be searched: use interval(A,B), choice(A,B) or range(A,B)"
    )


def metric(results: Mapping[str, Any], key: str) -> float:
    """The number at a dotted key of results.json.

    Raises:
        UsageError: if there is none.
    """
    value: Any = results
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if not isinstance(value, int | float):
        raise UsageError(
            f"results.json has no number {key}: hydra.sweeper.metrics may name {', '.join(_numbers(results))}"
        )
    return float(value)


def _numbers(node: Mapping[str, Any], prefix: str = "") -> list[str]:
    names = []
    for key, value in node.items():
        if isinstance(value, Mapping):
            names += _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            names.append(prefix + key)
    return names


def _ask_again(study: "optuna.Study") -> None:
    """Ask once more for every trial that has not ended well, unless it was asked for again since."""
    trials = study.get_trials(deepcopy=False)
    well = [trial.params for trial in trials if trial.state.name == "COMPLETE"]
    for trial in trials:
        if trial.state.name == "RUNNING":
            with contextlib.suppress(ValueError):  # it ended meanwhile
                study.tell(trial.number, state=_state("FAIL"))
        if trial.state.name in ("RUNNING", "FAIL") and trial.params and trial.params not in well:
            well.append(trial.params)
            study.enqueue_trial(trial.params)


def _ended_well(study: "optuna.Study") -> int:
    return sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False))


def _state(name: str) -> "optuna.trial.TrialState":
    from optuna.trial import TrialState

    return TrialState[name]


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
