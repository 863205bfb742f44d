"""What is done to downloaded files once, so that later starts only read safetensors."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from fuse_repro.dtypes import torch_dtype
from fuse_repro.errors import UsageError, first_line
from fuse_repro.progress import bar
from fuse_repro.storage.files import writing

CACHE = "a folder with cache_dir=... or FUSE_REPRO_CACHE"
VERSION = 1  # part of every cache key: raise it when a conversion changes


def keep(folder: Path, dtype: str) -> None:
    """Files already in the form transformers loads."""


def gguf_to_safetensors(folder: Path, dtype: str) -> None:
    """Replace the one GGUF file of `folder` by safetensors, config and tokenizer.

    Transformers reads the file tensor by tensor, so that memory holds the converted model and the tensor at work.

    Args:
        folder: holds the file.
        dtype: of the safetensors, one of `fuse_repro.dtypes.WEIGHTS`.

    Raises:
        UsageError: transformers cannot read the file.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (source,) = folder.glob("*.gguf")
    try:
        with bar(f"converting {source.name} (once)"), quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=source.name, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                folder, gguf_file=source.name, dtype=torch_dtype(dtype), local_files_only=True
            )
            # The weights are dequantised by now; without this, transformers refuses to save them.
            model.hf_quantizer = None
            del model.config.quantization_config
            with writing(folder, CACHE):
                tokenizer.save_pretrained(folder)
                model.save_pretrained(folder)
    except UsageError:
        raise
    except Exception as err:  # whatever the parser makes of a broken file
        raise UsageError(
            f"cannot convert {source.name} ({first_line(err)}): use source=hub or source=path"
        ) from err
    source.unlink()


def pth_to_safetensors(folder: Path, dtype: str) -> None:
    """Replace the one .pth file of `folder`, a plain state dict, by model.safetensors in the dtypes that it has.

    Raises:
        UsageError: the file holds anything but tensors.
    """
    import pickle

    import torch

    from fuse_repro.storage.tensors import write

    (source,) = folder.glob("*.pth")
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
        write(folder / "model.safetensors", dict(state.items()), {}, CACHE)
    except UsageError:
        raise
    except (pickle.UnpicklingError, ValueError, AttributeError, RuntimeError) as err:
        raise UsageError(f"{source.name} is not a plain state dict ({first_line(err)})") from err
    source.unlink()


FORMATS: dict[str, Callable[[Path, str], None]] = {
    "transformers": keep,
    "gguf": gguf_to_safetensors,
    "pth": pth_to_safetensors,
}


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars or warnings from transformers; ours stand for them, and errors are raised anyway."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # The progress bar of GGUF files heeds no setting.
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
