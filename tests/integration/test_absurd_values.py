"""Absurd values of every setting, one at a time: one line that blames the right key, or a run that gets to its models.

Runs are started in this process; wanting a model is an exception of its own.
"""

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fuse_repro import schema
from fuse_repro.errors import UsageError
from fuse_repro.runners import assemble, lifecycle
from fuse_repro.runners.fidelity import runner as fidelity_runner
from fuse_repro.runners.transfer import runner as transfer_runner

NUMBERS = [0, -1, 1e308, math.nan, math.inf, 10**30]
ABSURD = [*NUMBERS, "", "x y\n", None, True, [], [None], {}]
# Read elsewhere than in a run, or where the files go.
OTHERS = ("output_root", "output_dir", "sweep_dir", "dry_run", "dry_run_tflops", "cache_dir", "models_dir")
MAY_BE_ZERO = (  # settings for which 0 is a good value
    *(
        "seed",
        "patience",
        "joining",
        "ridge",
        "logprob_weight",
        "gradient_weight",
        "zeroth_weight",
        "lengths",
    ),
    *("reviews", "weight", "warmup", "seeds", "holdout_noise", "dtype"),
)


class ModelsReached(Exception):
    """The run wants its first model."""


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (assemble, transfer_runner, fidelity_runner):
        really = module.build

        def build(node: DictConfig, *arguments: Any, really: Any = really, **more: Any) -> Any:
            if str(node._get_full_key(None)).startswith("models."):
                raise ModelsReached
            return really(node, *arguments, **more)

        monkeypatch.setattr(module, "build", build)


def composed(*overrides: str) -> DictConfig:
    schema.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(schema.config_folder())):
        return compose("config", overrides=list(overrides))


def outcome(config: DictConfig, path: Path) -> str | None:
    """The line that the run ends with; None where it gets to its models. Any other end is raised."""
    try:
        lifecycle.carry_out(config, lifecycle.open_directory(config, path))
    except ModelsReached:
        return None
    except UsageError as error:
        return str(error)
    raise AssertionError("the run has ended without a model")


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a config with its key, but for what is made and where weights are had."""
    if isinstance(node, dict):
        for name, value in node.items():
            if (
                name.startswith("_")
                or name in ("wheel", "hub", "trainer", "hydra")
                or (not key and name in OTHERS)
            ):
                continue
            yield from leaves(value, f"{key}.{name}" if key else name)
    elif isinstance(node, list) and node:
        yield key, node
        yield from leaves(node[0], f"{key}[0]")
    else:
        yield key, node


def must_be_refused(key: str, usual: Any, absurd: Any) -> bool:
    """Whether no run can do with the value, by what usually stands there."""
    name = key.rpartition(".")[2].partition("[")[0]
    if usual is None:
        return False
    if isinstance(usual, bool):
        return not isinstance(absurd, bool)
    if isinstance(usual, list):
        return not isinstance(absurd, list)
    if isinstance(usual, str):
        return isinstance(absurd, int | float | dict)
    if absurd == 0 and not isinstance(absurd, bool):
        return name not in MAY_BE_ZERO
    return not (absurd is None and name in ("max_evaluations", "max_text_tokens", "size"))


def experiment(name: str, photos: Path, tmp_path: Path) -> DictConfig:
    captions = tmp_path / "captions.jsonl"
    text = '{"file": "%s", "captions": ["%s", "%s"]}\n'
    long = "a cat sits on a table in the sun and sleeps all day long"
    captions.write_text("".join(text % (path, long, f"{long} too") for path in sorted(photos.iterdir())))
    own: Mapping[str, list[str]] = {
        "caption": [f"dataset.path={photos}"],
        "transfer": ["models.target.accept_terms=true"],
        "invert": ["dataset.texts=[a cat,a dog]"],
        "adapter_fidelity": [f"dataset.path={captions}", "models.other.accept_terms=true"],
        "caption_sentiment": [f"dataset.path={photos}"],
    }
    return composed(f"experiment={name}", "trainer=cpu", f"cache_dir={tmp_path / 'cache'}", *own[name])


@pytest.mark.parametrize("name", ["caption", "transfer", "invert", "adapter_fidelity", "caption_sentiment"])
def test_absurd_values_are_one_line_that_names_the_key(name: str, photos: Path, tmp_path: Path) -> None:
    config = experiment(name, photos, tmp_path)
    assert outcome(config, tmp_path / "usual") is None
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    wrong, tried = [], 0
    for key, usual in leaves(values):
        for absurd in ABSURD:
            changed = deepcopy(config)
            try:
                OmegaConf.update(changed, key, absurd, merge=False)
            except OmegaConfBaseException:
                continue  # the schema says it, before a run begins
            tried += 1
            try:
                said = outcome(changed, tmp_path / "run")
            except Exception as error:
                wrong.append(f"{key}={absurd!r}: {type(error).__name__}: {str(error)[:150]}")
                continue
            if said is None and must_be_refused(key, usual, absurd):
                wrong.append(f"{key}={absurd!r} is not refused")
            elif said is not None and ("\n" in said or key.rpartition(".")[2].partition("[")[0] not in said):
                wrong.append(f"{key}={absurd!r} is blamed on something else: {said}")
    assert not wrong, "\n".join([f"{len(wrong)} of {tried}", *wrong])
    assert tried > 300
