"""Python, packages, Java, Slurm and wandb, as they are installed here."""

import netrc
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from fuse_repro.doctor.finding import BROKEN, OK, OPTIONAL, Finding

OLDEST = (3, 11)
SLURM = ("sbatch", "srun", "squeue", "scontrol")
WANDB_HOST = "api.wandb.ai"
TIMEOUT_S = 20


def python() -> Finding:
    """The interpreter."""
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info[:2] >= OLDEST:
        return Finding("python", OK, found)
    return Finding("python", BROKEN, found, "install Python 3.11 or newer, then: make PYTHON=python3.11")


def packages() -> Finding:
    """The packages that fuse_repro asks for, in the versions that it takes."""
    try:
        wanted = [Requirement(line) for line in requires("fuse_repro") or []]
    except PackageNotFoundError:
        return Finding("packages", BROKEN, "fuse_repro is not installed", "run: make install")
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = []
    for one in needed:
        try:
            have = version(one.name)
        except PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
            continue
        if not one.specifier.contains(have, prereleases=True):
            wrong.append(f"{one.name} is {have}, not {one.specifier}")
    if wrong:
        return Finding("packages", BROKEN, "; ".join(wrong), "run: pip install -c constraints.txt -e .")
    main = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "pytorch-lightning"))
    return Finding("packages", OK, f"{len(needed)} as asked for: {main}, ...")


def java() -> Finding:
    """What METEOR and SPICE are computed with."""
    remedy = "install a Java runtime, as Debian's default-jre-headless: METEOR and SPICE need it, nothing else does"
    if shutil.which("java") is None:
        return Finding("java", OPTIONAL, "not there", remedy)
    try:
        done = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return Finding("java", OPTIONAL, "does not answer", remedy)
    said = (done.stderr or done.stdout).splitlines()
    if done.returncode or not said:
        return Finding("java", OPTIONAL, "does not start", remedy)
    return Finding("java", OK, said[0])


def slurm() -> Finding:
    """What sends sweeps to a cluster."""
    missing = [name for name in SLURM if shutil.which(name) is None]
    if missing:
        remedy = "run fuse-repro on a login node of a cluster; here, sweeps run as processes (hydra/launcher=local)"
        return Finding("slurm", OPTIONAL, f"no {', '.join(missing)}", remedy)
    try:
        submitit = version("submitit")
    except PackageNotFoundError:
        return Finding("slurm", OPTIONAL, "no submitit", "run: pip install 'fuse_repro[slurm]'")
    return Finding("slurm", OK, f"commands are there, submitit {submitit}")


def wandb() -> Finding:
    """What draws dashboards."""
    try:
        have = version("wandb")
    except PackageNotFoundError:
        return Finding("wandb", OPTIONAL, "not there", "run: pip install wandb")
    mode = os.environ.get("WANDB_MODE")
    if mode in ("offline", "disabled"):
        return Finding("wandb", OK, f"{have}, {mode} (WANDB_MODE)")
    if os.environ.get("WANDB_API_KEY") or _in_netrc():
        return Finding("wandb", OK, f"{have}, with a key")
    remedy = "for logger=wandb: run wandb login, or use logger.mode=offline"
    return Finding("wandb", OPTIONAL, f"{have}, no key", remedy)


def _in_netrc() -> bool:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        return netrc.netrc(path).authenticators(WANDB_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False
