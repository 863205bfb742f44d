"""What every map costs: time of the fit, memory, and time of a pullback to scores of the whole vocabulary.

    python benchmarks/fidelity_cost.py

SmolLM2-135M -> MiniLM, 49,152 x 384. A pullback is what one prompt needs in one step of the search: the gradients at 48
points to coordinates of tokens, their mean, and a score for every token. One thread.
"""

import time

import torch
from _common import config, load, report, seconds

from fuse_repro.alignment.words import Tokenized
from fuse_repro.runners.build import build, build_fit

MAPS = ("fuse", "fuse_pair", "ridge", "procrustes", "relative", "projector", "lookup", "random")
VARIANTS = {"lookup, rank 128": ["adapter.rank=128"], "lookup, float16": ["adapter.dtype=float16"]}
POINTS = 48


def main() -> None:
    torch.set_num_threads(1)
    composed = config("experiment=demo")
    lm, encoder = load("lm", "vision")
    words = build(composed.corpus).words()
    texts = ["An image of a large dog"] * POINTS
    tokens = lm.tokenizer.split(texts)
    cases = {name: [f"adapter={name}"] for name in MAPS}
    cases |= {name: ["adapter=lookup", *more] for name, more in VARIANTS.items()}
    figures = {}
    for name, overrides in cases.items():
        fit_map = build_fit(config("experiment=demo", *overrides).adapter)
        begun = time.perf_counter()
        fitted = fit_map(lm, encoder, words)
        fit = time.perf_counter() - begun
        alignment = fitted.align(texts, [Tokenized(t.ids, t.words, t.spans) for t in tokens])
        gradient = torch.randn(POINTS, alignment.target_ids.shape[1], encoder.embedding_size)
        position = len(tokens[0].ids) - 1

        def pull(chosen=fitted, given=alignment, values=gradient, place=position) -> torch.Tensor:
            pulled = chosen.pull_token(values, given, place).float().mean(0, keepdim=True)
            return chosen.score_tokens(pulled)

        with torch.no_grad():
            took = seconds(pull)
        held = sum(buffer.numel() * buffer.element_size() for buffer in fitted.buffers())
        figures[name] = {"fit_seconds": fit, "mib": held / 2**20, "pullback_ms": 1000 * took}
        print(name, figures[name], flush=True)
    report("fidelity_cost", {"tokens": lm.tokenizer.vocab_size, "points": POINTS, "maps": figures})


if __name__ == "__main__":
    main()
