"""What this machine computes in a second: measured once by `fuse-repro calibrate`, kept, and read by `dry_run`."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from fuse_repro.dtypes import WEIGHTS
from fuse_repro.errors import UsageError, first_line, require
from fuse_repro.models.metering import Watch, metering
from fuse_repro.runs.files import read_json, write_text
from fuse_repro.runs.provenance import machine, strict_json

FOLDER = "calibration"
ENOUGH_S = 0.5  # of work, for each of the two measurements
CPU, CUDA = "cpu", "cuda"
# rows and columns of a matrix; width, layers, texts and tokens of a language model: as much as keeps the device busy
PRODUCT = {CPU: 1024, CUDA: 8192}
VOCABULARY = 8192
MODEL = {CPU: (512, 4, 16, 32), CUDA: (1024, 12, 128, 64)}


@dataclass(frozen=True)
class Rate:
    """What a device computes, in 10^12 floating-point operations per second.

    Attributes:
        device: its name.
        dtype: of the numbers.
        threads: of torch, for a CPU; 0 for a GPU.
        torch: the version.
        products: in large matrix products, which is the most that can be had.
        model: in the forward pass of a small language model, which is what runs come near to.
    """

    device: str
    dtype: str
    threads: int
    torch: str
    products: float
    model: float

    def __str__(self) -> str:
        many = "" if self.threads == 1 else "s"
        threads = f", {self.threads} thread{many}" if self.threads else ""
        return f"{self.device}{threads}, {self.dtype}"


def checked_device(given: str) -> torch.device:
    """The device of this name; "auto" is a GPU if there is one.

    Raises:
        UsageError: an unknown name, or a device that is not there.
    """
    if given == "auto":
        return torch.device(CUDA if torch.cuda.is_available() else CPU)
    known = re.fullmatch(r"cpu|cuda(:\d+)?", given)
    require(bool(known), "--device", given, "auto, cpu, cuda, or cuda:N for one of several GPUs")
    device = torch.device(given)
    if device.type == CUDA:
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        wanted = device.index or 0
        lacking = (
            "this machine or torch build lacks CUDA: use cpu" if not there else f"there are {there} GPUs"
        )
        require(wanted < there, "--device", given, lacking)
    return device


def measure(device: torch.device, dtype: str, clock: Callable[[], float] = time.perf_counter) -> Rate:
    """Measure a device; it takes about two seconds.

    Args:
        device: which.
        dtype: float32, bfloat16 or float16.
        clock: the time in seconds.

    Raises:
        UsageError: a dtype that is not known, or in which the device does not compute.
    """
    require(dtype in WEIGHTS, "--dtype", dtype, f"one of {', '.join(WEIGHTS)}")
    numbers = getattr(torch, dtype)
    try:
        products = rate_of(_products(device, numbers), clock, ENOUGH_S)
        model = rate_of(_model(device, numbers), clock, ENOUGH_S)
    except RuntimeError as error:
        raise UsageError(f"--dtype={dtype}: {device} does not compute in it ({first_line(error)})") from error
    name, threads = _identity(device)
    return Rate(name, dtype, threads, torch.__version__, products / 1e12, model / 1e12)


def rate_of(work: Callable[[], int], clock: Callable[[], float], enough_s: float) -> float:
    """Operations per second of some work, which returns how many it did; its first time is not counted."""
    work()
    begun, done = clock(), 0
    while (took := clock() - begun) < enough_s or not done:
        done += work()
    return done / took


def keep(rate: Rate, cache: Path) -> Path:
    """Write a rate to the cache; returns the file. Raises UsageError where it cannot be written."""
    path = _path(cache, rate.device, rate.dtype, rate.threads)
    write_text(path, strict_json(asdict(rate), indent=2) + "\n", "another --cache-dir")
    return path


def known_rate(cache: Path, device: torch.device, dtype: str) -> Rate | None:
    """What was measured of this device with this torch; None where nothing was, or the file is damaged."""
    name, threads = _identity(device)
    path = _path(cache, name, dtype, threads)
    if not path.is_file():
        return None
    try:
        rate = Rate(**read_json(path))
        fits = (rate.device, rate.dtype, rate.threads, rate.torch) == (
            name,
            dtype,
            threads,
            torch.__version__,
        )
        return rate if fits and rate.products > 0 and rate.model > 0 else None
    except (TypeError, UsageError):
        return None


def _identity(device: torch.device) -> tuple[str, int]:
    """The name of a device, and torch's threads on a CPU."""
    return machine(str(device))["device"], torch.get_num_threads() if device.type == CPU else 0


def _path(cache: Path, device: str, dtype: str, threads: int) -> Path:
    name = re.sub(r"[^A-Za-z0-9]+", "_", f"{device} {threads} {dtype}").strip("_")
    return cache / FOLDER / f"{name[:120]}.json"


def _products(device: torch.device, numbers: torch.dtype) -> Callable[[], int]:
    size = PRODUCT[device.type]
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(device, numbers) for _ in range(2))

    def work() -> int:
        left @ right
        _wait(device)
        return 2 * size**3

    return work


def _model(device: torch.device, numbers: torch.dtype) -> Callable[[], int]:
    from transformers import GPT2Config, GPT2LMHeadModel

    width, layers, texts, tokens = MODEL[device.type]
    shape = {"n_embd": width, "n_layer": layers, "n_head": width // 64, "n_positions": tokens}
    sizes = GPT2Config(**shape, vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(sizes).eval().requires_grad_(False).to(device, numbers)
    Watch("calibration", model.base_model, model, model.get_output_embeddings(), model.config)
    ids = torch.arange(texts * tokens, device=device).reshape(texts, tokens) % VOCABULARY

    @torch.no_grad()
    def work() -> int:
        with metering() as meter:
            model(input_ids=ids, use_cache=False)
        _wait(device)
        return meter.flops

    return work


def _wait(device: torch.device) -> None:
    if device.type == CUDA:
        torch.cuda.synchronize(device)
