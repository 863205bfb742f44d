"""Caption metrics of a run's records: against references, CLIPScore by a model, SPICE by a parser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from omegaconf import DictConfig
from torch import nn

from fuse_repro.data.photo import load_image
from fuse_repro.errors import require
from fuse_repro.metrics.captions import POLICIES, MetricsUnavailable, caption_metrics
from fuse_repro.metrics.clip_score import UNIT as CLIP_UNIT
from fuse_repro.metrics.clip_score import clip_scores
from fuse_repro.metrics.spice import spice
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.text_encoder import DualEncoder
from fuse_repro.runners.assemble import check_kind

IMAGE_TEXT = "null, or the role of an image-text model of the objective, as vision"


def reference_metrics(
    rows: Sequence[Mapping[str, Any]], runner: DictConfig, key: str = "id"
) -> tuple[dict[str, Any] | None, str | None]:
    """The caption metrics of records that are done, by their `key`, or None and why there are none."""
    references = {row[key]: row["references"] for row in rows if row["references"]}
    if not runner.metrics:
        return None, "switched off (runner.metrics=false)"
    captions = {row[key]: row["text"] for row in rows}
    try:
        return caption_metrics(captions, references, runner.metrics_prefix, runner.prefix), None
    except MetricsUnavailable as error:
        return None, str(error)


def check_metrics(config: DictConfig) -> None:
    """What the config alone tells of its metrics, before a model is loaded.

    Raises:
        UsageError: an unknown runner.metrics_prefix, or a runner.clip_score that is no role of an image-text model.
    """
    runner = config.runner
    prefixes = f"one of {', '.join(POLICIES)}"
    require(runner.metrics_prefix in POLICIES, "runner.metrics_prefix", runner.metrics_prefix, prefixes)
    role = runner.get("clip_score")
    if role is not None:
        require(role in config.models, "runner.clip_score", role, IMAGE_TEXT)
        check_kind(config, role, DualEncoder, f"runner.clip_score={role}: models.{role}", IMAGE_TEXT)


def check_extra_metrics(runner: DictConfig, models: Mapping[str, FrozenModel]) -> None:
    """Raises UsageError where runner.clip_score is no role of an image-text model."""
    role = runner.get("clip_score")
    usable = role is None or isinstance(models.get(role), DualEncoder)
    require(usable, "runner.clip_score", role, IMAGE_TEXT)


def clip_score(row: Mapping[str, Any], runner: DictConfig, models: nn.ModuleDict) -> dict[str, Any]:
    """CLIPScore of one record that is done, for the record, if the runner asks for it.

    It needs the model, which those who join the records of several shards do not have.
    """
    if runner.get("clip_score") is None:
        return {}
    encoder = models[runner.clip_score]
    assert isinstance(encoder, DualEncoder)
    (score,) = clip_scores(encoder, [load_image(Path(row["image"]))], [row["caption"]]).tolist()
    return {"clip_score": {"value": score, "by": encoder.name}}


def extra_metrics(rows: Sequence[Mapping[str, Any]], runner: DictConfig) -> dict[str, Any]:
    """CLIPScore and SPICE of records that are done, as far as the runner asks for them; or why there is no SPICE."""
    found: dict[str, Any] = {}
    if runner.get("clip_score") is not None:
        found["CLIPScore"] = fmean(row["clip_score"]["value"] for row in rows)
        found["CLIPScore_by"] = rows[0]["clip_score"]["by"]
        found["CLIPScore_unit"] = CLIP_UNIT
    if runner.get("spice"):
        prefix = runner.prefix if runner.metrics_prefix == "strip" else ""
        names = {row["id"]: row for row in rows}
        try:
            found["SPICE"] = spice(
                {name: row["text"] for name, row in names.items()},
                {name: row["references"] for name, row in names.items()},
                prefix,
            )
        except MetricsUnavailable as error:
            found["SPICE_note"] = str(error)
    return found
