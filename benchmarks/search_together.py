"""What it costs to search for several photographs one by one, and side by side in shared forward passes.

    OMP_NUM_THREADS=1 python benchmarks/search_together.py [--together 1 2 4] [--models tiny|laptop] [--rounds 2]

`tiny`: random models of one layer with the real tokenizers of SmolLM2 and MiniLM, so that nearly all is host time.
`laptop`: SmolLM2-135M and MiniLM's sentence encoder. In the photographs' place stand texts. Every way searches for the
same texts; the ways take turns. The figures are CPU seconds of this process a text, the ratio to one by one, forward
passes of each model, and how far the objectives are from those one by one.
"""

import argparse
import time
from statistics import fmean
from typing import Any

import torch
from _common import load, report
from search_overhead import SETTINGS, tiny_encoder, tiny_lm

from fuse_repro.adapters import LookupMap
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.objectives import FluencyTerm, MultiObjectiveLoss, TextMatchTerm
from fuse_repro.search import AutoDAN, PromptProblem
from fuse_repro.search.lockstep import Ended, searched

LAPTOP = ("experiment=invert", "dataset.texts=[a]")
TARGETS = (
    "A man riding a wave on top of a surfboard.",
    "A train at a station in the evening.",
    "Two dogs play with a ball in the snow.",
    "A kitchen with white cupboards and a wooden table.",
)


def problems(lm: CausalLM, encoder: TextEncoder) -> list[PromptProblem]:
    """A caption's objective, with a target text in every photograph's place."""
    term = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder))
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": term}, {"fluency": 1.0, "text": 10.0})
    return [PromptProblem(lm, objective, "An image of", {"text": term.target(text)}) for text in TARGETS]


def run(search: AutoDAN, wanted: list[PromptProblem], together: int) -> list[Ended]:
    """All searches, so many at a time."""
    found: list[Ended] = []
    for begin in range(0, len(wanted), together):
        group = searched(search, wanted[begin : begin + together])
        found += sorted(group, key=lambda ended: ended.number)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--together", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--models", choices=("tiny", "laptop"), default="tiny")
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--beam", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    lm, encoder = (
        (tiny_lm(), tiny_encoder()) if chosen.models == "tiny" else load("lm", "encoder", overrides=LAPTOP)
    )
    search = AutoDAN(
        candidates=chosen.candidates, beam=chosen.beam, max_new_tokens=chosen.tokens, stop="never",
        **SETTINGS["default"],
    )  # fmt: skip
    wanted = problems(lm, encoder)
    run(search, wanted, 1)  # what is made once and kept
    passes = {"lm": 0, "encoder": 0}
    for name, model in (("lm", lm), ("encoder", encoder)):
        model.model.register_forward_hook(lambda *_, name=name: passes.update({name: passes[name] + 1}))
    figures: dict[int, dict[str, Any]] = {size: {"seconds": []} for size in chosen.together}
    for _ in range(chosen.rounds):
        for size in chosen.together:
            passes |= {"lm": 0, "encoder": 0}
            begun = time.process_time()
            found = [ended.found().best for ended in run(search, wanted, size)]
            figures[size]["seconds"].append((time.process_time() - begun) / len(wanted))
            figures[size] |= {"passes": dict(passes), "objectives": [best.objective for best in found]}
    first = figures[chosen.together[0]]
    for own in figures.values():
        own["times_faster"] = min(first["seconds"]) / min(own["seconds"])
        pairs = zip(own["objectives"], first["objectives"], strict=True)
        own["largest_difference_of_objectives"] = max(abs(one - other) for one, other in pairs)
        own["objective"] = fmean(own["objectives"])
    for own in figures.values():
        del own["objectives"]
    settings = {name: getattr(chosen, name) for name in ("models", "candidates", "beam", "tokens", "rounds")}
    report(f"search_together_{chosen.models}", {**settings, "texts": len(wanted), "together": figures})


if __name__ == "__main__":
    main()
