"""Written prompts searched with one model and with several, and soft prompts moved: every row on every model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from fuse_repro.errors import require
from fuse_repro.runners.answers_summary import summary
from fuse_repro.runners.assemble import part_values
from fuse_repro.runners.build import build_fit
from fuse_repro.runners.lifecycle import run_part
from fuse_repro.runners.roles import PRIMARY, UNSEEN
from fuse_repro.runners.search.answers import check_runner
from fuse_repro.runners.search.answers_module import BASELINES, FOUND
from fuse_repro.runners.shards import refuse_shards
from fuse_repro.runners.trainer import build_trainer
from fuse_repro.runners.values import check_settings
from fuse_repro.runs.directory import RunDirectory, read_records
from fuse_repro.runs.provenance import check_seed, strict_json

PARTS = ("runner", "optimizer", "objective")  # groups that each kind of row has its own values of
APART = ("guides", "judges")  # of a row's models, where not all of them do both
Cells = dict[str, dict[str, Any]]  # id -> record


class AnswersTableSettings:
    """What conf/runner/answers_table.yaml holds."""

    seeds: Sequence[int]
    rows: Mapping[str, Mapping[str, Any]]
    soft: Mapping[str, str] | None


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """One search per row and seed, and one transfer per model; a record for every row, task and seed.

    A part that cannot be run is a failed record of its row, and the others go on. Whether parts are run again,
    config.resume says. Raises UsageError for settings that cannot be used.
    """
    check_settings("runner", config.runner, AnswersTableSettings)
    refuse_shards(config)
    check_rows(config)
    device = str(build_trainer(config.trainer).strategy.root_device)
    directory.open(device=device, weights={})
    known = {record["id"]: record for record in directory.records() if record["id"] in directory.known()}
    for record in [*_searched(config, directory), *_soft(config, directory)]:
        if record["id"] not in known or strict_json(record) != strict_json(known[record["id"]]):
            directory.append(record)
            known[record["id"]] = record
    roles = {str(role): config.models[role].name for role in config.models}
    searched = [role for role in roles if not role.startswith(UNSEEN)]
    rows = {name: list(row.searched) for name, row in config.runner.rows.items()}
    return {"runner": "answers_table", "models": roles} | summary(directory.records(), rows, searched)


def check_rows(config: DictConfig) -> None:
    """Check the rows before anything is run.

    Raises:
        UsageError: no row or seed, a role or method that there is not, or a method that cannot be used.
    """
    runner = config.runner
    require(
        bool(runner.rows), "runner.rows", {}, "at least one row, as {both: {searched: [a, b], method: fuse}}"
    )
    require(bool(runner.seeds), "runner.seeds", list(runner.seeds), "at least one seed")
    for seed in runner.seeds:
        check_seed("runner.seeds", seed)
    for node in config.methods.values():
        build_fit(node)
    known, maps = (
        f"roles in models: {', '.join(config.models)}",
        f"one of methods: {', '.join(config.methods)}",
    )
    for name, row in runner.rows.items():
        key, searched = f"runner.rows.{name}", list(row.get("searched") or [])
        good = bool(searched) and all(role in config.models for role in searched)
        require(good, f"{key}.searched", searched, f"at least one of the {known}")
        require(row.get("method") in config.methods, f"{key}.method", row.get("method"), maps)
        for part in APART:
            roles = list(row.get(part) or searched)
            good = bool(roles) and set(roles) <= set(searched)
            require(
                good, f"{key}.{part}", roles, f"some of {', '.join(searched)}, which the row is searched with"
            )
        require(name not in BASELINES, "runner.rows", name, f"another name than {' or '.join(BASELINES)}")
        values, _ = search_values(config, row, runner.seeds[0])
        check_runner(OmegaConf.create(values))
    for name, method in (runner.soft or {}).items():
        require(method in config.methods, f"runner.soft.{name}", method, maps)


def _searched(config: DictConfig, directory: RunDirectory) -> Iterator[dict[str, Any]]:
    """The records of the rows that are searched for, and, once, of what needs no search."""
    given: Cells = {}
    for name, row in config.runner.rows.items():
        for seed in config.runner.seeds:
            path = directory.path / str(name) / str(seed)
            values, roles = search_values(config, row, seed)
            values["runner"]["baselines"] = (
                [] if given else list(BASELINES)
            )  # the same for every row and seed
            _, error = run_part(OmegaConf.create(values), path)
            if error is not None:
                yield {"id": f"{name}/{seed}", "row": str(name), "status": "failed", "error": error}
                continue
            for found in read_records(path):
                yield _cell(str(name), seed, found, roles)
                for other in BASELINES:
                    cell = _given(other, found, roles)
                    if cell is not None:
                        given.setdefault(cell["id"], cell)
    yield from given.values()


def search_values(
    config: DictConfig, row: Mapping[str, Any], seed: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """The config of the search of one row, and the names that its roles have in the table.

    In it the first model that is searched with is `lm`, and those that are not searched with are unseen.
    """
    values = part_values(config, "search", PARTS)
    searched = [str(role) for role in row["searched"]]
    rest = [str(role) for role in config.models if role not in searched]
    names = {PRIMARY: searched[0]} | {role: role for role in searched[1:]}
    names |= {role if role.startswith(UNSEEN) else f"{UNSEEN}_{role}": role for role in rest}
    values["models"] = {own: values["models"][role] for own, role in names.items()}
    own = [name for name, role in names.items() if role in searched]
    for part in APART:
        if row.get(part) is not None:
            values["runner"][part] = [name for name in own if names[name] in row[part]]
    values["runner"]["unseen"] = [name for name in names if name not in own]
    values["objective"]["answer"]["model"] = own
    values["adapter"] = OmegaConf.to_container(config.methods[row["method"]], resolve=True)
    values["optimizer"] |= cast(
        dict[str, Any], OmegaConf.to_container(OmegaConf.create(row.get("optimizer") or {}))
    )
    values["optimizer"]["seed"] = values["seed"] = seed
    return values, names


def _cell(name: str, seed: int, found: Mapping[str, Any], roles: Mapping[str, str]) -> dict[str, Any]:
    """The record of one row, task and seed."""
    cell = {"id": f"{name}/{found['id']}/{seed}", "row": name, "task": found["id"], "seed": seed}
    if found["status"] != "done":
        return cell | {"status": "failed", "error": found.get("error")}
    return cell | {
        "status": "done",
        "label": found["label"],
        "text": found["text"],
        "template": found["template"],
        "accuracy": _accuracy(found, FOUND, roles),
        "objective": found["objective"],
        "evaluations": found["evaluations"],
        "cost": found["cost"],
        "samples": [
            row | {"said": {roles[own]: word for own, word in row["said"].items()}}
            for row in found["samples"]
        ],
    }


def _given(name: str, found: Mapping[str, Any], roles: Mapping[str, str]) -> dict[str, Any] | None:
    """The record of a prompt that needs no search, for one task; it has no seed."""
    if found["status"] != "done" or name not in found["prompts"]:
        return None
    cell = {"id": f"{name}/{found['id']}", "row": name, "task": found["id"], "seed": None}
    return cell | {"status": "done", "label": found["label"], "accuracy": _accuracy(found, name, roles)}


def _accuracy(found: Mapping[str, Any], name: str, roles: Mapping[str, str]) -> dict[str, float]:
    """The right answers by one prompt of a search's record, by the names that its roles have in the table."""
    return {roles[own]: figures["accuracy"] for own, figures in found["prompts"][name].items()}


def transfer_values(config: DictConfig, target: str) -> dict[str, Any]:
    """The config of the transfer of soft prompts to one model, on the items that all models are asked."""
    values = part_values(config, "transfer", PARTS)
    values["runner"] |= {
        "target": target,
        "seeds": list(config.runner.seeds),
        "also": list(config.models),
    }
    wanted = dict.fromkeys(config.runner.soft.values())
    values["methods"] = {name: values["methods"][name] for name in wanted}
    return values


def _soft(config: DictConfig, directory: RunDirectory) -> Iterator[dict[str, Any]]:
    """The records of soft prompts of the first model, as every model reads them."""
    soft = dict(config.runner.soft or {})
    if not soft:
        return
    source = str(config.runner.transfer.sources[0])
    cells: Cells = {}
    for target in map(str, config.models):
        values = transfer_values(config, target)
        _, error = run_part(OmegaConf.create(values), directory.path / "transfer" / target)
        if error is not None:
            yield {"id": f"transfer/{target}", "row": "soft", "status": "failed", "error": error}
            continue
        for record in read_records(directory.path / "transfer" / target):
            for name in (name for name, method in soft.items() if record.get("method") == method):
                key = f"{name}/{record['task']}/{record['seed']}"
                cell = cells.setdefault(key, _soft_cell(key, name, record, source))
                if record["status"] == "done":
                    cell["accuracy"][target] = record["accuracy"]
    for cell in cells.values():
        yield cell if cell["accuracy"] else cell | {"status": "failed", "error": "no model could be asked"}


def _soft_cell(key: str, name: str, record: Mapping[str, Any], source: str) -> dict[str, Any]:
    shared = {"task": record["task"], "label": record.get("label"), "seed": record["seed"], "source": source}
    return {"id": key, "row": name, "status": "done", **shared, "accuracy": {}}
