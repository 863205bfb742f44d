"""Processor, graphics cards and disks of this machine."""

import os
import shutil
import tempfile
import warnings
from pathlib import Path

from fuse_repro.doctor.finding import BROKEN, GIB, OK, OPTIONAL, Finding
from fuse_repro.errors import first_line
from fuse_repro.weights.cache import cache_folder

NEEDED = 2 * GIB  # for the default models, while one of them is converted


def processor() -> Finding:
    """Cores and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Finding("processor", OK, f"{cores} cores, {memory / GIB:.0f} GiB of memory")


def cuda() -> Finding:
    """Graphics cards that torch can compute on."""
    try:
        import torch
    except Exception as error:  # a broken installation can raise anything
        return Finding("cuda", BROKEN, f"torch cannot be loaded: {first_line(error)}", "run: make install")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if there:
        cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        shown = ", ".join(f"{card.name} with {card.total_memory / GIB:.0f} GiB" for card in cards)
        return Finding("cuda", OK, f"{shown}; CUDA {torch.version.cuda}")
    if torch.version.cuda is None:
        remedy = "runs work on the processor; for an NVIDIA card install a CUDA build of torch"
        return Finding("cuda", OPTIONAL, f"torch {torch.__version__} is built without CUDA", remedy)
    reason = str(said[0].message).splitlines()[0] if said else "no card is visible"
    return Finding(
        "cuda", OPTIONAL, reason, "runs work on the processor; check nvidia-smi and CUDA_VISIBLE_DEVICES"
    )


def cache() -> Finding:
    """The folder of downloaded weights."""
    try:
        folder = cache_folder()
    except RuntimeError:  # no home at all
        return Finding(
            "cache", BROKEN, "no home folder", "set FUSE_REPRO_CACHE to a folder that you may write to"
        )
    return _folder(
        "cache", folder, NEEDED, "set FUSE_REPRO_CACHE to a folder that you may write to, with 2 GiB free"
    )


def outputs() -> Finding:
    """Where runs leave their directories."""
    remedy = "change to a folder that you may write to, or set output_dir"
    return _folder("outputs", Path("outputs").absolute(), GIB // 10, remedy)


def _folder(name: str, folder: Path, needed: int, remedy: str) -> Finding:
    """Whether a folder, or the one that it would be made in, can be written to and has room."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir():
        return Finding(name, BROKEN, f"{there} is a file", remedy)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(name, BROKEN, f"{folder} cannot be written to ({first_line(error)})", remedy)
    if free < needed:
        return Finding(name, BROKEN, f"{folder} has {free / GIB:.1f} GiB free", remedy)
    return Finding(name, OK, f"{folder}, {free / GIB:.0f} GiB free")
