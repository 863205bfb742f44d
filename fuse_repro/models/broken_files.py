"""Whatever libraries raise over broken files of a model, as one line that a user can mend."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from fuse_repro.errors import UsageError, first_line
from fuse_repro.storage.reading import require_regular
from fuse_repro.weights.convert import quiet_transformers

PANIC = "PanicException"  # what Rust libraries raise; it is no Exception, and cannot be imported
LONGEST = 300  # characters of a library's own words


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn every error within, that of a user's file or of a library over it, into one line; requests to stop pass.

    Args:
        what: the start of the line, such as "lm: cannot load FOLDER".

    Raises:
        UsageError: anything within failed.
    """
    with quiet_transformers():
        try:
            yield
        except UsageError:
            raise
        except BaseException as err:
            if not isinstance(err, Exception) and type(err).__name__ != PANIC:
                raise
            raise UsageError(f"{what} ({first_line(err)[:LONGEST]}): get or save its files again") from err


@contextlib.contextmanager
def without_panic_messages() -> Iterator[None]:
    """Hold back what is written to standard error within; after a panic, whose traceback it is, it is dropped."""
    sys.stderr.flush()
    try:
        original = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    panicked = False
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException as err:
            panicked = type(err).__name__ == PANIC
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            if not panicked:
                os.write(2, held.read())


def read_tensors(file: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU. Raises UsageError, which begins with `what`, for a broken one."""
    with reading(what):
        require_regular(file)
        return load_file(file)
