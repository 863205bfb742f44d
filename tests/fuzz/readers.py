"""Every reader there is."""

from .attempt import Reader
from .data_readers import data_readers
from .file_readers import file_readers
from .run_readers import run_readers


def all_readers() -> list[Reader]:
    """Readers of data, of kept files, and of run directories; each with valid files."""
    return [*data_readers(), *file_readers(), *run_readers()]
