"""`dry_run=true`: what the points of a run or a sweep would cost, said without loading a model or a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from fuse_repro.errors import UsageError, require
from fuse_repro.models.sizes import BYTES, ModelSize, model_size
from fuse_repro.report.paper import check_cell
from fuse_repro.runners.build import build, build_fit
from fuse_repro.runners.costs.calibration import known_rate
from fuse_repro.runners.costs.count import work_of
from fuse_repro.runners.costs.work import Work
from fuse_repro.runners.objective import objectives_of, term_roles
from fuse_repro.runners.terms_of_use import unaccepted
from fuse_repro.shown import cell
from fuse_repro.weights import cache_folder

ASSUMED_TFLOPS = 10.0  # what one GPU is taken to sustain
MIXED = {"bf16-mixed": "bfloat16", "16-mixed": "float16"}
PARTS = ("optimizer", "corpus")
ASSUMPTIONS = (
    "At the most: searches and tunings that stop early do less. Prompts tuned by several points count once. A "
    "multiply-add is two operations; a pass back costs as much as one forth, since weights are frozen. Not counted: "
    "fits of maps, searches in an embedding space, and the activations of a batch, which is halved if it does not fit."
)


def print_costs(points: Sequence[DictConfig], console: Console | None = None) -> None:
    """Say what these runs would cost.

    Args:
        points: their configs; at least one.
        console: where to.

    Raises:
        UsageError: settings that no run could use.
    """
    console = console or Console(soft_wrap=True)
    given = points[0].dry_run_tflops
    require(given is None or given > 0, "dry_run_tflops", given, "10^12 operations per second, above 0")
    require(points[0].dtype in BYTES, "dtype", points[0].dtype, f"one of {', '.join(BYTES)}")
    for point in points:
        _check(point)
    counted = [work_of(point) for point in points]
    known = [(point, found) for point, found in zip(points, counted, strict=True) if found is not None]
    if not known:
        target = points[0].runner._target_
        raise UsageError(f"dry_run=true does not know what {target} computes: try it with dataset.limit=1")
    console.print(cell(f"{points[0].name}: points: {len(points)}; nothing is run", "bold"))
    for origin in dict.fromkeys(data.origin for _, (data, _) in known):
        console.print(cell(f"data: {origin}"))
    for reproduced in dict.fromkeys(point.paper_cell for point in points if point.paper_cell):
        console.print(cell(f"paper: {reproduced}"))
    rows = _once([(point, work) for point, (_, of_point) in known for work in of_point])
    pace = _pace(points[0])
    console.print(_models_table(rows, pace))
    console.print(cell(_total(rows, pace)))
    console.print(ASSUMPTIONS, style="dim")
    notes = (unaccepted(cast(dict[str, Any], OmegaConf.to_container(p, resolve=True))) for p in points)
    for note in dict.fromkeys(note for note in notes if note):
        console.print(cell(f"before it can run: {note}"))


def _check(point: DictConfig) -> None:
    """What can be checked of a config without weights and data."""
    for part in PARTS:
        if point.get(part) is not None:
            build(point[part])
    for objective in objectives_of(point.objective):
        term_roles(objective)
    for node in [point.adapter, *point.methods.values()]:
        if node is not None:
            build_fit(node)
    if point.paper_cell is not None:
        check_cell(point.paper_cell)


Row = tuple[DictConfig, Work]


@dataclass(frozen=True)
class Pace:
    """What a device computes.

    Attributes:
        tflops: in 10^12 operations per second.
        device: CPU or GPU, for the heading.
        origin: where the number comes from.
    """

    tflops: float
    device: str
    origin: str


def _pace(point: DictConfig) -> Pace:
    """What the device of a run computes: as the config says, as it was measured, or an assumption."""
    accelerator, precision = (str((point.trainer or {}).get(key)) for key in ("accelerator", "precision"))
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    named = "CPU" if on_cpu else "GPU"
    if point.dry_run_tflops is not None:
        return Pace(point.dry_run_tflops, named, "dry_run_tflops")
    there = on_cpu or (accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available())
    if there:
        device = torch.device("cpu" if on_cpu else "cuda")
        dtype = MIXED.get(precision, point.dtype)
        if (found := known_rate(cache_folder(point.cache_dir), device, dtype)) is not None:
            return Pace(found.model, named, f"measured by fuse-repro calibrate: {found}")
    return Pace(ASSUMED_TFLOPS, "GPU", "assumed; fuse-repro calibrate measures this machine")


def _once(rows: Sequence[Row]) -> list[Row]:
    """The work without what an earlier point has already done."""
    seen: set[tuple[Any, str]] = set()
    kept = []
    for point, work in rows:
        key = (str(point.cache_dir), work.shared)
        if work.shared and key in seen:
            continue
        seen.add(key)
        kept.append((point, work))
    return kept


def _models_table(rows: Sequence[Row], pace: Pace) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for head in ("model", "from", "parameters", "weights", "work", "forward passes", f"{pace.device} hours"):
        table.add_column(head, justify="left" if head in ("model", "from", "work") else "right")
    groups: dict[str, dict[str, list[Row]]] = {}
    for point, work in rows:
        groups.setdefault(point.models[work.role].name, {}).setdefault(work.what, []).append((point, work))
    for name, of_model in groups.items():
        node = _node(next(iter(of_model.values()))[0])
        size = model_size(node)
        first = [name, _origin(node), *(_size(size, rows[0][0].dtype) if size else ("unknown", "unknown"))]
        for what, some in of_model.items():
            passes = sum(work.passes * work.times for _, work in some)
            hours = f"{_hours(some, pace):,.2f}" if size else "unknown"
            table.add_row(*map(cell, (*first, what, f"{passes:,.0f}", hours)))
            first = ["", "", "", ""]
    return table


def _total(rows: Sequence[Row], pace: Pace) -> str:
    heaviest = max(
        (
            sum(size.parameters for size in _loaded(point, rows) if size) * BYTES[point.dtype]
            for point, _ in rows
        ),
        default=0,
    )
    passes = sum(work.passes * work.times for _, work in rows)
    return (
        f"in all: {passes:,.0f} forward passes, {_hours(rows, pace):,.1f} {pace.device} hours at "
        f"{pace.tflops:.3g} x 10^12 operations per second ({pace.origin}), weights of one run {heaviest / 1e9:.2f} GB"
    )


def _loaded(point: DictConfig, rows: Sequence[Row]) -> list[ModelSize | None]:
    """The models that a point loads."""
    roles = dict.fromkeys(work.role for owner, work in rows if owner is point)
    return [model_size(point.models[role]) for role in roles]


def _hours(rows: Sequence[Row], pace: Pace) -> float:
    sized = ((work, model_size(_node((point, work)))) for point, work in rows)
    return sum(work.operations(size) for work, size in sized if size) / (pace.tflops * 1e12) / 3600


def _node(row: Row) -> DictConfig:
    point, work = row
    node: DictConfig = point.models[work.role]
    return node


def _size(size: ModelSize, dtype: str) -> tuple[str, str]:
    return f"{size.parameters / 1e6:,.1f} M", f"{size.parameters * BYTES[dtype] / 1e9:.2f} GB"


def _origin(node: DictConfig) -> str:
    """Where a model is had from."""
    if node.get("source") == "hub" and node.get("hub"):
        revision = node.hub.get("revision")
        return node.hub.repo_id + (f"@{revision[:12]}" if revision else " (newest revision)")
    return str(node.get("source", "made here"))
