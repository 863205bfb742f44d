"""Relative prompt transfer: the closed form against the paper's search, in matching loss and in seconds.

    python benchmarks/relative_closed_form.py

Real models and the paper's settings: m = 5, the 8,192 highest cosines, not centred, Adam with 2,000 steps of 5e-3. The
prompt's rows are word embeddings with noise, as those of a tuned prompt are. `loss` is the mean over rows of 1 - cos
between the masked relative representations (eq. 5); for Adam, that of its best step. Adam works in float32, on the
anchors that any row's mask keeps; the closed form in float64.
"""

import time

import torch
from _common import config, report

from fuse_repro.adapters import RelativePromptTransfer, shared_anchors
from fuse_repro.adapters.base import fit_values
from fuse_repro.adapters.relative.module import PAPER
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.build import build

MODELS = {"smollm2": "smollm2_135m", "gemma": "gemma3_270m", "minilm": "minilm"}
PAIRS = (("smollm2", "gemma"), ("gemma", "smollm2"), ("smollm2", "minilm"))


def load() -> dict[str, FrozenModel]:
    overrides = [f"+model@models.{role}={name}" for role, name in MODELS.items()]
    models = config("experiment=demo", *overrides, "models.gemma.accept_terms=true").models
    return {role: build(models[role]) for role in MODELS}


def noisy_words(model: FrozenModel, rows: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    table = model.embedding_table()
    words = table[torch.randint(1000, len(table) // 2, (rows,), generator=generator)]
    return words + 0.5 * table.std() * torch.randn(words.shape, generator=generator)


def timed(transfer: RelativePromptTransfer, prompt: torch.Tensor) -> dict[str, float]:
    begun = time.perf_counter()
    result = transfer.solve([prompt])
    elapsed = time.perf_counter() - begun
    return {"loss": float(result.matching_loss.mean()), "seconds": elapsed}


def main() -> None:
    models = load()
    figures = {}
    for names in PAIRS:
        source, target = (models[name] for name in names)
        anchors = shared_anchors([source, target])
        prompt = noisy_words(source)
        solved = {}
        for solver in ("closed_form", "adam"):
            transfer = RelativePromptTransfer.fit(
                source, target, given=anchors, **(PAPER | {"solver": solver})
            )
            if solver == "closed_form":
                timed(transfer, prompt)  # warm up
            solved[solver] = timed(transfer, prompt)
        ratio = solved["adam"]["seconds"] / solved["closed_form"]["seconds"]
        excess = solved["adam"]["loss"] - solved["closed_form"]["loss"]
        figures[" -> ".join(names)] = {
            "anchors": len(anchors),
            **solved,
            "ratio": ratio,
            "adams_excess_loss": excess,
        }
        print(names, figures[" -> ".join(names)], flush=True)
    steps = fit_values(RelativePromptTransfer.fit, PAPER)["steps"]
    report("relative_closed_form", {"m": 5, "k": PAPER["k"], "steps": steps, "pairs": figures})


if __name__ == "__main__":
    main()
