"""TROPT's side of inversion_race.py; runs in an environment of its own that has tropt, and imports nothing of ours.

Reads one request a line, a caption, and answers each with a line: CPU seconds, cosine and prompt of the best so far.
"""

import json
import sys
import time
from contextlib import suppress
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as parts
from tropt.common import Targets
from tropt.loss import SimilarityLoss
from tropt.model.huggingface.encoder import EncoderHFModel
from tropt.optimizer.gaslite_optimizer import GASLITEOptimizer
from tropt.optimizer.utils.token_constraints import TokenConstraints

STEPS = 10**6  # time ends the search


class Over(Exception):
    """The time is over."""


def encoder(folder: str) -> SentenceTransformer:
    """MiniLM with the pooling that it was trained with."""
    model = parts.Transformer(folder)
    size = model.auto_model.config.hidden_size
    return SentenceTransformer(modules=[model, parts.Pooling(size, "mean"), parts.Normalize()], device="cpu")


def race(
    model: SentenceTransformer, caption: str, seconds: float, tokens: int, setting: dict[str, Any]
) -> Any:
    """Rows of CPU seconds, cosine and prompt of the best so far."""
    with torch.no_grad():
        target = torch.tensor(model.encode([caption]))
    rows: list[tuple[float, float, torch.Tensor]] = []
    begun = 0.0

    def note(_: Any, given: tuple[dict[str, torch.Tensor]], out: dict[str, torch.Tensor]) -> None:
        if (
            torch.is_grad_enabled()
        ):  # neighbours that only give gradients are not filtered for decode -> encode
            return
        cosines = out["sentence_embedding"].detach() @ target[0]
        best, spent = int(cosines.argmax()), time.process_time() - begun
        if not rows or float(cosines[best]) > rows[-1][1]:
            rows.append((spent, float(cosines[best]), given[0]["inputs_embeds"][best].clone()))
        if spent > seconds:
            raise Over

    optimizer = GASLITEOptimizer(
        model=EncoderHFModel(loaded_model=model),
        loss=SimilarityLoss(),
        num_steps=STEPS,
        seed=0,
        token_constraints=TokenConstraints(disallow_non_ascii=True, disallow_special_tokens=True),
        **setting,
    )
    handle = model.register_forward_hook(note)
    begun = time.process_time()
    with suppress(Over):
        optimizer.optimize_trigger(
            templates=["{{OPTIMIZED_TRIGGER}}"],
            targets=Targets(target_vectors=target),
            initial_trigger=" ".join(["!"] * tokens),
        )
    handle.remove()
    table = model[0].auto_model.get_input_embeddings().weight

    def written(embeddings: torch.Tensor) -> str:
        """The prompt of these embeddings; off the clock."""
        ids = torch.cdist(embeddings.float(), table).argmin(1)
        return model.tokenizer.decode(ids, skip_special_tokens=True)

    with torch.no_grad():
        return [(spent, cosine, written(embeddings)) for spent, cosine, embeddings in rows]


def main() -> None:
    torch.set_num_threads(1)
    folder, seconds, tokens, setting = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what the library prints is no answer
    model = encoder(folder)
    for line in sys.stdin:
        rows = race(model, json.loads(line), float(seconds), int(tokens), json.loads(setting))
        print(json.dumps(rows), file=answers, flush=True)


if __name__ == "__main__":
    main()
