"""Imported once by the server that forks the processes of a sweep, so that none of them has to load it."""

import contextlib
from importlib import import_module

USED_BY_RUNS = (
    "fuse_repro.runners.launch",
    "fuse_repro.runners.search.caption",
    "fuse_repro.runners.transfer.runner",
    "transformers.modeling_utils",
    "matplotlib.figure",
)

for name in USED_BY_RUNS:
    with contextlib.suppress(Exception):  # a run that needs it says what is wrong with it
        import_module(name)
