"""The top of a run's page: what was run, when and on what, and whether it ended well."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.report.formats import moment, number
from fuse_repro.runs.merged import MERGED
from fuse_repro.runs.seal import SHARD


def header(path: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Name, date, commit, seed and device, and the config, versions and weights.

    Args:
        path: the run directory, absolute.
        manifest: what manifest.json holds.
    """
    config = manifest.get("config") or {}
    machine = manifest.get("machine") or {}
    device = manifest.get("device") or ""
    facts = {
        "Date": moment(manifest.get("created")),
        "Seed": number(manifest.get("seed")),
        "Device": f"{device} ({machine['device']})" if machine.get("device") else device,
    }
    facts |= _shards(manifest)
    return {
        "directory": path.name,
        "title": str(config.get("name") or path.name),
        "facts": facts,
        "commit": _commit(manifest.get("git_commit")),
        "config": config,
        "origins": _origins(manifest),
        "weights": _weights(manifest),
    }


def _shards(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Which shard it is, or from how many it was merged; empty for any other run."""
    note, merged = manifest.get(SHARD), manifest.get(MERGED)
    if isinstance(note, Mapping):
        items = note.get("items")
        size = f", {len(items)} of {note.get('total')} items" if isinstance(items, Mapping) else ""
        return {"Shard": f"{note.get('shard')} of {note.get('shards')}{size}"}
    return {"Merged from": f"{len(merged)} shards"} if isinstance(merged, Sequence) else {}


def banner(status: Mapping[str, Any] | None, done: int) -> dict[str, Any] | None:
    """A note where the run has not ended well; None where it has.

    Args:
        status: what status.json holds, or None where there is none.
        done: how many items are done.
    """
    state = (status or {}).get("state")
    if status is None or state == "done":
        return None
    if state == "failed":
        error = status.get("error") or "No reason was recorded."
        return {"failed": True, "text": error, "traceback": status.get("traceback")}
    text = f"The run had not ended on {moment(status.get('updated'))}; {done} done so far."
    if status.get("error"):
        text += f" {status['error']}."
    return {"failed": False, "text": text, "traceback": None}


def _commit(commit: str | None) -> str | None:
    if not commit:
        return None
    return commit[:10] + ("-dirty" if commit.endswith("-dirty") else "")


def _origins(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine = {str(name): str(value) for name, value in (manifest.get("machine") or {}).items()}
    versions = {
        str(name): str(value or "not installed") for name, value in (manifest.get("versions") or {}).items()
    }
    whole = {
        "git commit": str(manifest.get("git_commit") or "none"),
        "config hash": str(manifest.get("config_hash")),
    }
    return list((versions | machine | whole).items())


def _weights(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every file of weights and its hash."""
    models = (manifest.get("weights") or {}).items()
    known = [(model, hashes) for model, hashes in models if isinstance(hashes, Mapping)]
    return [(f"{model}: {file}", digest) for model, hashes in known for file, digest in hashes.items()]
