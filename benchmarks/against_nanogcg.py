"""A prompt by which one model says one text: GCG here against nanoGCG 0.2.3, in one run.

Both start from the same prompts and take equally many steps with equally many candidates, in SmolLM2's chat template.
nanoGCG is installed into an environment of its own, in the folder given, unless it is there already.
Losses are nats per token of the target; both sides' best prompts are also asked again here, as text.

    python benchmarks/against_nanogcg.py ENVIRONMENT --targets 10 --steps 20
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _common import load, report

from fuse_repro.adapters import IdentityMap
from fuse_repro.data.prompt_task import Item
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.metrics.statistics import paired_difference
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import AnswerTerm, PromptBatch
from fuse_repro.search import GCG, PromptProblem
from fuse_repro.search.projection import starting_prompts

PEER = "nanogcg==0.2.3"
MESSAGE = "Please answer."
TARGETS = (
    "The capital of France is Paris.",
    "Water boils at one hundred degrees.",
    "My favourite season is autumn.",
    "A triangle has three sides.",
    "The train leaves at nine o'clock.",
    "Bread is made of flour and water.",
    "The library opens on Monday.",
    "Seven plus five is twelve.",
    "The moon circles the earth.",
    "Honey never spoils.",
)


def environment(folder: Path) -> Path:
    """The python of an environment that has nanoGCG; made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if subprocess.run([python, "-c", "import nanogcg"], check=False, capture_output=True).returncode:
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", PEER, f"torch=={torch.__version__.split('+')[0]}"],
            check=True,
        )
    return python


def problem_of(lm: CausalLM, target: str) -> tuple[PromptProblem, AnswerTerm]:
    """A prompt behind a message, in the chat template, by which the model says the target."""
    term = AnswerTerm("answer", lm, IdentityMap(lm), template=MESSAGE + "{prompt} [Y]", chat=True)
    objective = MultiObjectiveLoss({"answer": term}, {"answer": 1.0})
    return PromptProblem(lm, objective, "", {"answer": term.target([Item("", target)])}), term


def ours(lm: CausalLM, targets: list[str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One search per target: the best loss after every step, the best prompt, and the time."""
    rows = []
    for number, target in enumerate(targets):
        problem, _ = problem_of(lm, target)
        losses: list[float] = []
        search = GCG(
            tokens=arguments.tokens,
            candidates=arguments.candidates,
            top_k=arguments.top_k,
            steps=arguments.steps + 1,  # the first one is the start
            seed=number,
        )
        begun, cpu = time.perf_counter(), time.process_time()
        found = search.search(problem, lambda beam, losses=losses: losses.append(beam[0].objective))
        row = {"losses": losses, "best": found.best.text, "best_loss": found.best.objective}
        rows.append(row | {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - cpu})
        print(f"{target!r}: {found.best.objective:.3f} by {found.best.text!r}", flush=True)
    return rows


def theirs(python: Path, given: dict[str, Any]) -> list[dict[str, Any]]:
    """The same by nanoGCG, in its own process."""
    side = Path(__file__).parent / "_nanogcg_side.py"
    done = subprocess.run(
        [python, side], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def asked_again(lm: CausalLM, target: str, text: str) -> float:
    """Nats per token of the target by a prompt as text."""
    problem, term = problem_of(lm, target)
    with torch.no_grad():
        return float(term(PromptBatch([text], problem.targets))[0])


def starts(lm: CausalLM, targets: list[str], tokens: int) -> list[str]:
    """Where both sides begin, as text: what this project's search would draw by itself."""
    found = []
    for number, target in enumerate(targets):
        problem, _ = problem_of(lm, target)
        generator = torch.Generator().manual_seed(number)
        found.append(lm.tokenizer.decode(starting_prompts(problem, 1, tokens, "likely", generator))[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("environment", type=Path)
    for name, default in (("targets", 10), ("steps", 20), ("tokens", 20), ("candidates", 64), ("top-k", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    (lm,) = load("lm")
    targets = list(TARGETS[: arguments.targets])
    own = ours(lm, targets, arguments)
    given = {
        "model": str(lm.weights.directory),
        "message": MESSAGE,
        "targets": targets,
        "starts": starts(lm, targets, arguments.tokens),
        "steps": arguments.steps,
        "candidates": arguments.candidates,
        "top_k": arguments.top_k,
        "threads": arguments.threads,
        "device": str(lm.device),
    }
    peer = theirs(environment(arguments.environment), given)
    for row, target in zip(own + peer, targets * 2, strict=True):
        row["as_text"] = asked_again(lm, target, row["best"])
    best = [[min(row["losses"]) for row in side] for side in (own, peer)]
    figures = {
        "settings": {key: value for key, value in given.items() if key not in ("model", "starts")},
        "ours": own,
        "nanogcg": peer,
        "mean_loss": {"ours": fmean(best[0]), "nanogcg": fmean(best[1])},
        "mean_loss_as_text": {
            "ours": fmean(row["as_text"] for row in own),
            "nanogcg": fmean(row["as_text"] for row in peer),
        },
        "cpu_seconds": {
            "ours": fmean(row["cpu_seconds"] for row in own),
            "nanogcg": fmean(row["cpu_seconds"] for row in peer),
        },
        "time_ratio": sum(row["cpu_seconds"] for row in own) / sum(row["cpu_seconds"] for row in peer),
    }
    if len(targets) > 1:
        figures["difference"] = vars(paired_difference(*best))
    report("against_nanogcg", figures)


if __name__ == "__main__":
    main()
