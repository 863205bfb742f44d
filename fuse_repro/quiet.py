"""Lightning without its advice about workers, hardware and checkpoint folders."""

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Leave out what Lightning says about itself; errors are still raised."""
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for package in ("pytorch_lightning", "lightning_fabric"):
                warnings.filterwarnings("ignore", module=package)
            yield
    finally:
        logger.setLevel(level)
