"""Help that teaches, and one-line explanations of what is wrong with a command."""

import re
from collections.abc import Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

from fuse_repro.defaults_lists import entries
from fuse_repro.errors import LONGEST, UsageError
from fuse_repro.schema import Root, config_folder

INTRODUCTION = """\
fuse-repro: gradients and soft prompts between language models that share no tokenizer and no embedding space.

  fuse-repro experiment=demo                                      caption four demo photographs
  fuse-repro experiment=caption dataset.path=PHOTOS               ... your own: a file, a folder or a .jsonl
  fuse-repro experiment=caption dataset.path=PHOTOS adapter=fuse adapter.max_tokens=2    change any value
  fuse-repro experiment=move prompt=FOLDER output=OTHER           your own soft prompt (PEFT's format) for another model
  fuse-repro -m experiment=demo adapter=fuse,random               a sweep: one run per value
  fuse-repro -m sweep=max_tokens experiment=demo                  ... over a named grid
  fuse-repro -m ... hydra/launcher=slurm                          ... as jobs of a cluster
  fuse-repro status DIR                                           how far a run or a sweep is
  fuse-repro -m sweep=shards dataset.shards=8 experiment=caption dataset.path=PHOTOS    one data set, 8 runs, one result
  fuse-repro merge DIR                                            join the results of shards by hand
  fuse-repro -m experiment=transfer/table3 dataset.path=LAMA      a paper's table; with dry_run=true its costs
  fuse-repro calibrate                                            measure this machine, for dry_run=true
  fuse-repro experiment=caption --cfg job                         show the whole config, run nothing
  fuse-repro report DIR                                           make DIR/report.html again
  fuse-repro doctor                                               what this machine has, and what to do where it lacks
  fuse-repro report DIR --latex [--figures FOLDER]                ... a LaTeX table (or --csv), figures as PDF and PNG
  fuse-repro cache list                                           downloaded weights: their size and source
  fuse-repro cache verify                                         ... hash them all; exit code 1 if one is damaged
  fuse-repro cache prune [--older-than DAYS | --all] [--dry-run]  ... remove damaged ones and interrupted work

Every run leaves manifest.json, status.json, records.jsonl, results.json and report.html in its output_dir
(default outputs/NAME/TIME). The same command with output_dir=DIR goes on where a killed run stopped; a sweep
finds its own directory again.
Exit code: 0 done, 3 some items failed, 1 all of them or the run did, 2 a wrong command, 130 or 143 interrupted.
"""

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
RENAMED = {"task": "dataset", "tuning": "optimizer"}  # old group -> what it is called now


def help_text() -> str:
    """The help page: how to call the command, and what there is to choose from."""
    folder = config_folder()
    lines = [INTRODUCTION, "Experiments (experiment=NAME):"]
    lines += [
        f"  {name:<24}{_purpose(folder / 'experiment' / f'{name}.yaml')}"
        for name in _options(folder, "experiment")
    ]
    lines += ["", "Groups (GROUP=OPTION; models as model@models.ROLE=OPTION):"]
    groups = [group for group in _groups(folder) if group != "experiment"]
    lines += [f"  {group:<24}{', '.join(_options(folder, group))}" for group in groups]
    lines += ["", "Hydra's own flags work too: --multirun, --cfg, --info, --config-dir, --hydra-help."]
    return "\n".join(lines)


def explain(error: Exception, folder: Path, overrides: Sequence[str] = ()) -> str:
    """One line: the key or option that is wrong, what is allowed, and the nearest name.

    Args:
        error: what Hydra or OmegaConf raised.
        folder: of the packaged configs.
        overrides: of the command, as they were typed.
    """
    if old := renamed(overrides, folder):
        return old
    if isinstance(error.__cause__, UsageError):
        return str(error.__cause__)
    message = f"{error}\n{error.__cause__ or ''}"
    if override := getattr(error, "override", None):
        return f"{override} cannot be read as KEY=VALUE: brackets must be closed, and text with signs quoted"
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'", message):
        group, option = match.groups()
        if group.startswith("experiment/"):
            group, option = "experiment", f"{group.removeprefix('experiment/')}/{option}"
        return f"{group}={option} is unknown: {group} is one of {_list(_options(folder, group), option)}"
    if "You must specify 'experiment'" in message:
        return f"no experiment given: experiment is one of {', '.join(_options(folder, 'experiment'))}"
    if match := re.search(r"Could not (?:override|append to config)[^']*'([^'=]+)", message):
        return _unknown_key(match[1], error.__cause__, folder, _experiment(overrides))
    if match := re.search(r"Error merging override ([^=]+)=.*\n(.*)", message):
        return f"{match[1]}: {_shortened(match[2])}; {_allowed(match[1])}"
    return " ".join(str(error).split()).removeprefix(
        f"{UsageError.__name__} raised while resolving interpolation: "
    )


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def _allowed(key: str) -> str:
    """What a key of every run takes."""
    hint: Any = Root
    for name in key.split("."):
        hint = get_type_hints(hint).get(name) if is_dataclass(hint) else None
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return f"give {' or '.join(KINDS.get(option, 'values by name') for option in options)}"


def renamed(overrides: Sequence[str], folder: Path) -> str | None:
    """One line for the first override of a group that has another name now; None if there is none."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        old = re.split(r"[.@/]", key)[0]
        if old in RENAMED and not (folder / old).is_dir():
            new = RENAMED[old] + key.removeprefix(old)
            return f"{old} is called {RENAMED[old]} now: use {new}={value or '...'}"
    return None


def _experiment(overrides: Sequence[str]) -> str | None:
    """The experiment that the command names."""
    names = [text.removeprefix("experiment=") for text in overrides if text.startswith("experiment=")]
    return names[-1] if names else None


def _unknown_key(key: str, cause: BaseException | None, folder: Path, experiment: str | None) -> str:
    """What stands where `key` was looked for, or which experiments have the part that this one lacks."""
    node = getattr(cause, "parent_node", None)
    wrong = str(getattr(cause, "key", None) or key)
    inside = node is not None and wrong not in key  # a key of the value: KEY={wrong: ...}
    if inside:
        key = f"{key}.{wrong}"
    parent = key[: key.rfind(wrong)] if node is not None else ""
    if (not parent or not node) and (told := _no_such_part(key, folder, experiment)):
        return told
    if parent:
        names = sorted(str(name) for name in node if name != "_target_")  # type: ignore[union-attr]
    else:
        names = sorted(set(_groups(folder)) | set(Root.__dataclass_fields__))
    where = f"{parent.rstrip('.')} has" if parent else "the keys are"
    more = f"; +{key}=... adds one" if inside else ""
    return f"{key} is no key of this run: {where} {_list(names, wrong.split('@')[0], parent)}{more}"


def _no_such_part(key: str, folder: Path, experiment: str | None) -> str | None:
    """The line for a key of a part that this experiment lacks and others have; None for any other key."""
    part = re.split(r"[.@]", key)[0]
    having = {name: entries(folder, name) for name in _options(folder, "experiment")}
    having = {name: own for name, found in having.items() if (own := _of_part(part, found))}
    if experiment in having:
        more = f" (+{key}=... adds another)" if "@" in key else ""
        return (
            f"{key} is no key of this run: experiment={experiment} has {', '.join(having[experiment])}{more}"
        )
    if not having or experiment is None:
        return None
    return (
        f"{key} is no key of this run: experiment={experiment} has no {part}, which is part of experiment="
        f"{', '.join(having)}"
    )


def _of_part(part: str, found: Sequence[str]) -> list[str]:
    """The entries of this group, or those that stand below this key of the config."""
    split = [(entry, *entry.partition("@")[::2]) for entry in found]
    return [entry for entry, group, place in split if part in (group, place.split(".")[0])]


def _list(names: Sequence[str], given: str, parent: str = "") -> str:
    """The names, and the nearest to what was given."""
    near = get_close_matches(given, names, n=1)
    return ", ".join(names) + (f" (did you mean {parent}{near[0]}?)" if near else "")


def _groups(folder: Path) -> list[str]:
    """Every group of configs, as a path below `folder`; folders of experiments are no groups of their own."""
    groups = {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/**/*.yaml")}
    return sorted(group for group in groups if not group.startswith("experiment/"))


def _options(folder: Path, group: str) -> list[str]:
    """The options of a group, those in folders below it as FOLDER/NAME."""
    base = folder / group.split("@")[0]
    names = (path.relative_to(base).with_suffix("") for path in base.rglob("*.yaml"))
    return sorted(name.as_posix() for name in names if not name.name.startswith("_"))


def _purpose(path: Path) -> str:
    """The first comment of a config that is not a Hydra directive."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ")
    return ""
