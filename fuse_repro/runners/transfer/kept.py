"""Where a tuned prompt is kept: one file in the cache, under a key of everything that went into it."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import SoftPrompt, for_model
from fuse_repro.runners.transfer.placing import Place, place_of
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.trainer import decides_results
from fuse_repro.storage import files
from fuse_repro.storage import tensors as store
from fuse_repro.weights.cache import locked

FORMAT = 2


@dataclass(frozen=True)
class TuningResult:
    """The prompt that was best on dev, its precision@1 there, and what it cost."""

    prompt: SoftPrompt
    dev_accuracy: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class KeptPrompt:
    """The place of one prompt in the cache.

    Attributes:
        path: its file.
        inputs: what it is made from.
        lm: the model that reads it.
        place: where it stands.
    """

    path: Path
    inputs: dict[str, Any]
    lm: FrozenModel
    place: Place

    @classmethod
    def of(
        cls,
        lm: FrozenModel,
        task: PromptTask,
        settings: PromptTuning,
        cache_dir: Path,
        trainer: DictConfig | None,
    ) -> "KeptPrompt":
        """The key hashes the model, the task, the settings and the trainer's precision.

        How many prompts are tuned together is no part of it: the result is the same, to rounding.
        """
        values = asdict(settings)
        del values["together"]
        inputs = {
            "kind": "soft prompt",
            "format": FORMAT,
            "model": lm.fingerprint,
            "weights": None if lm.weights is None else lm.weights.files,
            "dtype": str(lm.dtype),
            "task": task.digest,
            "settings": values,
            "trainer": decides_results(trainer),
        }
        path = Path(cache_dir) / "prompts" / f"{store.digest(inputs)[:32]}.safetensors"
        return cls(path, inputs, lm, place_of(lm, task, settings))

    def find(self, quiet: bool = False) -> TuningResult | None:
        """What an earlier run kept, or None where there is nothing or the file is damaged; see `store.find`."""
        expect = {"prompt": store.Expected((self.place.length, self.lm.embedding_size))}
        found = store.find(self.path, self.inputs, expect, quiet)
        if found is None:
            return None
        tensors, notes = found
        try:
            figures = float(notes["dev_accuracy"]), int(notes["steps"]), float(notes["seconds"])
        except (KeyError, TypeError, ValueError):
            return None
        prompt = for_model(self.lm, tensors["prompt"].to(self.lm.device), self.place.position)
        return TuningResult(prompt, *figures)

    def save(self, result: TuningResult) -> None:
        """Keep a prompt. Raises UsageError where it cannot be written."""
        notes = {"dev_accuracy": result.dev_accuracy, "steps": result.steps, "seconds": result.seconds}
        store.save(self.path, {"prompt": result.prompt.embeddings}, self.inputs | notes, store.CACHE)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the prompt's lock, so that two runs that want the same one do not tune it in one folder."""
        with contextlib.ExitStack() as stack:
            with files.writing(self.path, store.CACHE):
                stack.enter_context(locked(self.path))
            yield
