"""Absurd values of every setting of every experiment, one at a time, before anything is loaded.

Each is taken, and then it is a sensible value, or it is one line that names the whole key and what was given. What
checks a setting before models are loaded is called by itself, in this process, once per part and value.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import recipe_data
from composed import composed as composed_command
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from fuse_repro import schema
from fuse_repro.cli import main
from fuse_repro.data.classification import TextClassification
from fuse_repro.data.lama import LamaFacts
from fuse_repro.errors import UsageError
from fuse_repro.help import explain
from fuse_repro.loggers.wandb_settings import WandbSettings
from fuse_repro.runners import values
from fuse_repro.runners.build import build, build_data, build_fit
from fuse_repro.runners.fidelity.methods import check_methods
from fuse_repro.runners.fidelity.runner import FidelitySettings, combinations
from fuse_repro.runners.fidelity.runner import check_config as check_fidelity
from fuse_repro.runners.known_truth.points import KnownTruthSettings, make_plan
from fuse_repro.runners.models import check_models
from fuse_repro.runners.objective import term_roles
from fuse_repro.runners.search.answers import AnswersSettings
from fuse_repro.runners.search.answers import check_runner as check_answers_runner
from fuse_repro.runners.search.caption import CaptionSettings
from fuse_repro.runners.search.inversion import InversionSettings
from fuse_repro.runners.search.metrics import check_metrics
from fuse_repro.runners.search.sentiment import SentimentSettings, checked_sentiments
from fuse_repro.runners.transfer.checks import check_runner as check_own_prompts
from fuse_repro.runners.transfer.evaluate import EvaluateSettings
from fuse_repro.runners.transfer.move import MoveSettings
from fuse_repro.runners.transfer.runner import TransferSettings
from fuse_repro.runners.transfer.runner import check_config as check_transfer_config
from fuse_repro.runners.transfer.tune import TuneSettings

LONG, HUGE = "x" * 5000, 10**400
ABSURD = [0, -1, 1e308, 1e3, math.nan, math.inf, HUGE, "", LONG, None, [None], {"a": []}]
CONF = schema.config_folder()
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))  # folders: other values
MORE = (
    ["experiment=caption", "corpus=text_file", "optimizer=gcg", "logger=wandb", "dataset=coco"],
    ["experiment=caption", "corpus=wikitext", "optimizer=pez", "dataset=nocaps"],
    ["experiment=invert", "optimizer=autodan_refined"],
    ["experiment=invert", "optimizer=gaslite"],
    ["experiment=invert", "optimizer=autoprompt"],
    ["experiment=caption", "optimizer=random_l0", "dataset=senticap", "model@models.lm=twitter_roberta"],
    ["experiment=transfer", "dataset=sst2", "model@models.target=siglip2_base"],
    ["experiment=transfer", "dataset=lama", "model@models.source=clip_vit_b32"],
)
# What is given as it is to the hub, to a wheel or to whoever reads it, and what is no setting.
FREE = (
    "_target_",
    "wheel",
    "hub",
    "path",
    "site",
    "name",
    "terms",
    "cache_dir",
    "model",
    "accept_terms",
    "texts",
)
TEXTS = ("prefix", "template", "label", "word", "position", "entity", "group", "project", "language", "split")
MAY_BE_ZERO = (
    "seed", "shown", "patience", "ridge", "logprob_weight", "gradient_weight", "weight", "reviews", "fillers", "curves",
    "images", "shard", "joining", "warmup", "holdout", "holdout_noise", "weight_decay", "pieces", "train", "dev",
    "max_train", "insertions", "moves", "likely", "combined", "zeroth_weight",
    "noise", "overlap", "noise_growth")  # fmt: skip
SETTINGS: Mapping[str, type] = {
    "fuse_repro.runners.search.answers.run": AnswersSettings,
    "fuse_repro.runners.search.caption.run": CaptionSettings,
    "fuse_repro.runners.search.inversion.run": InversionSettings,
    "fuse_repro.runners.search.sentiment.run": SentimentSettings,
    "fuse_repro.runners.transfer.runner.run": TransferSettings,
    "fuse_repro.runners.fidelity.runner.run": FidelitySettings,
    "fuse_repro.runners.known_truth.runner.run": KnownTruthSettings,
    "fuse_repro.runners.transfer.evaluate.run": EvaluateSettings,
    "fuse_repro.runners.transfer.move.run": MoveSettings,
    "fuse_repro.runners.transfer.tune.run": TuneSettings,
}
OWN_PROMPTS = (EvaluateSettings, MoveSettings, TuneSettings)


def composed(*overrides: str) -> dict[str, Any]:
    config = composed_command(*overrides)
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=False)  # type: ignore[return-value]


@cache
def parts() -> list[tuple[str, Any, Mapping[str, Any]]]:
    """Key, node and whole config of every part of every experiment, each kind of part once."""
    found: dict[str, tuple[str, Any, Mapping[str, Any]]] = {}
    for overrides in (*([f"experiment={name}"] for name in EXPERIMENTS), *MORE):
        config = composed(*overrides)
        apart = any(isinstance(own, Mapping) and "_target_" in own for own in config["runner"].values())
        whole = "_target_" in config["runner"] and not apart  # else its parts are those of other experiments
        for group in ("dataset", "corpus", "adapter", "optimizer", "objective", "runner", "logger"):
            empty = config[group] is None or (group == "dataset" and "_target_" not in config[group])
            if not empty and (whole or group in ("corpus", "adapter")):
                found.setdefault(kind(group, config[group]), (group, config[group], config))
        for name, node in config["methods"].items():
            found.setdefault(kind("adapter", node), (f"methods.{name}", node, config))
        for role, node in config["models"].items():
            found.setdefault(kind("model", node), (f"models.{role}", node, config))
    return list(found.values())


def kind(group: str, node: Mapping[str, Any]) -> str:
    """The same for parts whose settings are checked alike."""
    targets = sorted((key, value) for key, value in leaves(node) if "_target_" in key)
    return json.dumps([group, targets, *sorted(node)])


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below a node with its dotted key; a list is one value."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def changed(node: Any, key: str, value: Any) -> Any:
    """The node with another value at a dotted key."""
    name, _, rest = key.partition(".")
    return {**node, name: changed(node[name], rest, value) if rest else value}


def check(key: str, node: Any, config: Mapping[str, Any]) -> None:
    """What is checked of one part before any model is loaded, in the order of a run."""
    group, _, name = key.partition(".")
    tree = OmegaConf.create({group: {name: node} if name else node})
    values.check_values(tree)
    placed = OmegaConf.select(tree, key)
    if group == "dataset":
        data = build_data(placed)
        if isinstance(data, TextClassification | LamaFacts):
            data.tasks()
    elif group == "corpus":
        corpus = build(placed)
        if "Wiki" not in node["_target_"]:
            corpus.words()
    elif group in ("adapter", "methods"):
        build_fit(placed)
    elif group == "optimizer":
        build(placed)
    elif group == "objective":
        term_roles(placed)
    elif group == "models":
        check_models({**config, "models": {name: node}})
    elif group == "logger" and "wandb" in node["_target_"]:
        given = {name: value for name, value in node.items() if name != "_target_"}
        values.check_settings("logger", OmegaConf.create(given), WandbSettings)
        WandbSettings(**given)
    elif group == "runner":
        check_runner(placed, config)


def check_runner(node: DictConfig, config: Mapping[str, Any]) -> None:
    values.check_settings("runner", node, SETTINGS[node._target_])
    checks: Mapping[str, Callable[[DictConfig], None]] = {
        "fuse_repro.runners.search.answers.run": check_answers_runner,
        "fuse_repro.runners.search.caption.run": check_metrics,
        "fuse_repro.runners.search.sentiment.run": check_sentiment,
        "fuse_repro.runners.transfer.runner.run": check_transfer,
        "fuse_repro.runners.fidelity.runner.run": check_fidelity_runner,
        "fuse_repro.runners.known_truth.runner.run": lambda config: make_plan(config.runner),
    }
    settings = SETTINGS[node._target_]
    if settings in OWN_PROMPTS:
        check_own_prompts(OmegaConf.create({**config, "runner": node}), settings)
    if node._target_ in checks:
        models = {role: {"_target_": model["_target_"]} for role, model in config["models"].items()}
        few = {"models": models, "objective": config["objective"], "runner": node}
        few |= {key: config[key] for key in ("target", "dataset", "optimizer")}
        checks[node._target_](OmegaConf.create(few))


def check_transfer(config: DictConfig) -> None:
    check_transfer_config(config, {"map": partial(dict)})


def check_fidelity_runner(config: DictConfig) -> None:
    check_fidelity(config)
    points = {name: build(node) for name, node in config.runner.points.items()}
    combined = combinations(config.runner.combinations)
    check_methods(["lookup"], [*points, "random"], combined, config.runner.baselines)


def check_sentiment(config: DictConfig) -> None:
    checked_sentiments(config.runner.sentiments)
    check_metrics(config)


def outcome(key: str, node: Any, config: Mapping[str, Any]) -> str | None:
    """The line that a part ends with; None where all is well."""
    try:
        check(key, node, config)
    except UsageError as error:
        return str(error)
    return None


def nonsense(name: str, usual: Any, absurd: Any) -> bool:
    """Whether nobody can mean the value, by what usually stands there."""
    if name == "compat":  # null, a name or a list of names
        return isinstance(absurd, int | float)
    if (isinstance(absurd, float) and not (math.isfinite(absurd) and abs(absurd) < 1e30)) or absurd is HUGE:
        return True
    if usual is None:
        return absurd == -1
    if isinstance(usual, bool):
        return not isinstance(absurd, bool)
    if isinstance(usual, str):
        return not isinstance(absurd, str | None) or (absurd in ("", LONG) and name not in TEXTS)
    if isinstance(usual, list | dict):
        return not isinstance(absurd, type(usual) | None) or absurd in ([None], {"a": []})
    if isinstance(absurd, str | bool | list | dict) or absurd == -1:
        return True
    return absurd == 0 and name not in MAY_BE_ZERO


def faults(key: str, node: Any, config: Mapping[str, Any], seen: set[tuple[object, ...]]) -> Iterator[str]:
    """A line for every value of a part that is neither taken nor explained; settings that were `seen` are left out."""
    usual_end = outcome(key, node, config)
    for leaf, usual in leaves(node):
        names = leaf.split(".")
        setting = (key.partition(".")[0], node.get("_target_"), leaf)
        if set(names) & set(FREE) or names[-1].startswith("_") or setting in seen:
            continue
        seen.add(setting)
        for absurd in ABSURD:
            given = f"{key}.{leaf}={absurd!r:.40}"
            try:
                said = outcome(key, changed(node, leaf, absurd), config)
            except Exception as error:
                yield f"{given}: {type(error).__name__}: {str(error)[:150]}"
                continue
            if said == usual_end:
                if nonsense(names[-1], usual, absurd):
                    yield f"{given} is taken"
            elif said is not None and not explains(said, f"{key}.{leaf}"):
                yield f"{given} is said to be {said[:300]}"


def explains(said: str, key: str) -> bool:
    """One line of bearable length: the whole key or that of its table, the value, and what is allowed."""
    table = key.rpartition(".")[0]
    named = said.startswith((f"{key}=", f"{key}.")) or (table.count(".") and said.startswith(f"{table}="))
    return "\n" not in said and len(said) < 700 and bool(named) and " is not allowed: " in said


def test_every_absurd_value_is_taken_or_explained(tmp_path: Path) -> None:
    seen: set[tuple[object, ...]] = set()
    wrong = [
        line for key, node, config in parts() for line in faults(key, prepared(node, tmp_path), config, seen)
    ]
    assert not wrong, "\n".join([f"{len(wrong)}", *wrong])
    assert len(parts()) > 30


def prepared(node: Any, folder: Path) -> Any:
    """The part with files for what has to be given."""
    target = str(node.get("_target_")).rpartition(".")[2]
    if node.get("points"):  # those of the fidelity runner are alike
        return {**node, **{name: dict(list(node[name].items())[:1]) for name in ("points", "combinations")}}
    if node.get("truths"):  # they are alike, too
        return {**node, "truths": dict(list(node["truths"].items())[:1])}
    if target == "TextData" or node.get("path") == "???":
        make = LAYOUTS.get(target, text_file)
        place = folder / f"data_{target}"
        return {**node, "path": str(make(place) if not place.exists() else place)}
    return node


def text_file(path: Path) -> Path:
    path = path.with_suffix(".txt")
    path.write_text("a cat sits on the mat\n")
    return path


def photos(folder: Path) -> Path:
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "cat.png")
    return folder


LAYOUTS: Mapping[str, Callable[[Path], Path]] = {
    "ImageCaptionData": photos,
    "CocoData": recipe_data.coco,
    "NoCapsData": recipe_data.nocaps,
    "SentiCapData": recipe_data.senticap,
    "LamaFacts": recipe_data.lama,
    "TextClassification": recipe_data.sst2,
}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=null", "seed: field 'seed' is not Optional; give a whole number"),
        (
            "seed=1e3",
            "seed: Value '1000.0' of type 'float' could not be converted to Integer; give a whole number",
        ),
        ("weights.verify=[]", "weights.verify: Cannot convert 'list' to string: '[]'; give text"),
        ("paper_cell=[]", "paper_cell: Cannot convert 'list' to string: '[]'; give text or null"),
        ("models=3", "models: Cannot assign int to Dict[str, Any]; give values by name"),
    ],
)
def test_what_the_schema_refuses_says_what_it_takes(override: str, said: str) -> None:
    assert refused(override) == said


def test_a_long_value_is_cut_in_what_the_schema_says() -> None:
    said = refused(f"dry_run_tflops={LONG}")
    assert said.startswith("dry_run_tflops: Value 'xxx")
    assert said.endswith("characters); give a number or null")
    assert len(said) < 400


def refused(override: str) -> str:
    """What the command says of an override that the schema does not take."""
    with pytest.raises(HydraException) as caught:
        composed_command("experiment=caption", override)
    return explain(caught.value, CONF, ["experiment=caption", override])


def test_a_number_that_python_does_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment=caption", f"optimizer.beam={'9' * 5000}"]) == 2
    said = "fuse-repro: optimizer.beam is a number of more digits than can be read: give a shorter one\n"
    assert capsys.readouterr().err == said
