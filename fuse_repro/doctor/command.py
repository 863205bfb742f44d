"""The command `fuse-repro doctor`."""

import argparse
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from fuse_repro.doctor.finding import BROKEN, OK, Finding
from fuse_repro.doctor.machine import cache, cuda, outputs, processor
from fuse_repro.doctor.network import hub, index
from fuse_repro.doctor.software import java, packages, python, slurm, wandb
from fuse_repro.shown import shown

CHECKS: tuple[Callable[[], Finding], ...] = (
    python, packages, processor, cuda, cache, outputs, index, hub, java, slurm, wandb,
)  # fmt: skip


def main(argv: Sequence[str] = ()) -> int:
    """Look at the machine and print what was found, with what to do.

    Args:
        argv: the arguments after `doctor`; none are taken.

    Returns:
        The exit code: 0, or 1 where something is broken without which no run works.
    """
    about = "Say what this machine has of what runs need, and what to do where something is missing."
    argparse.ArgumentParser(prog="fuse-repro doctor", description=about).parse_args(argv)
    findings = [check() for check in CHECKS]
    table = Table("", "")
    for name in ("found", "what to do"):
        table.add_column(name, overflow="fold")
    for one in findings:
        table.add_row(shown(one.state), shown(one.name), shown(one.found), shown(one.remedy))
    Console(markup=False, highlight=False).print(table)
    broken = [one.name for one in findings if one.state == BROKEN]
    fine = all(one.state == OK for one in findings)
    print(
        f"broken: {', '.join(broken)}" if broken
        else "everything is there" if fine
        else "runs work; what is marked optional is needed by some of them only"
    )  # fmt: skip
    return 1 if broken else 0
