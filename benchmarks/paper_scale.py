"""The papers' own sizes on this machine's GPU, or as far as its CPU can bear: seconds, memory, how busy the GPU is.

    python benchmarks/paper_scale.py [--device cuda] [--only PART ...] [--seconds 100] [--steps 16]

Random weights (see paper_models.py). Every part is a process of its own with a time limit, so that a slow one cannot
take the time of the others; a part that does not end in time is reported as such. Parts:

search    GPT-2 medium, CLIP ViT-B/32 and a RoBERTa classifier; 512 candidates, beam 5; on a CPU one step
fit       FUSE's maps 1024 -> 512 and 1024 -> 768 from 16,384 words for each of l = 1 to 4
transfer  relative transfer of 5 vectors by 8,192 anchors, RoBERTa large to BERT base: closed form, 2,000 steps of Adam
evaluate  facts a second that BERT base and RoBERTa large answer with a soft prompt
tune      41 prompts of BERT base at once, 16 facts a step: seconds per step, and for LAMA's 500 steps
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import paper_models
import torch
from _common import report

TOKENS = 16  # of a caption
WORDS = 16_384  # of a fit, for each length


def search(device: torch.device, steps: int) -> dict[str, Any]:
    """One search of so many steps, after one step to warm up."""
    from PIL import Image

    from fuse_repro.adapters import FuseAdapterModule
    from fuse_repro.objectives import ClassifierTerm, FluencyTerm, ImageMatchTerm, MultiObjectiveLoss
    from fuse_repro.search import AutoDAN, Linearisation, PromptProblem

    lm, clip, mood = (
        make().to(device)
        for make in (paper_models.gpt2_medium, paper_models.clip_vit_b32, paper_models.roberta_classifier)
    )
    words = some_words(lm)
    image = ImageMatchTerm("image", clip, FuseAdapterModule.fit(lm, clip, words[:2000], max_tokens=2))
    label = ClassifierTerm(
        "sentiment", mood, FuseAdapterModule.fit(lm, mood, words[:2000], max_tokens=2), label="positive"
    )
    objective = MultiObjectiveLoss(
        {"fluency": FluencyTerm(lm), "image": image, "sentiment": label}, {"image": 10.0, "sentiment": 2.0}
    )
    target = image.target(Image.effect_noise((224, 224), 60).convert("RGB"))
    problem = PromptProblem(lm, objective, "An image of", {"image": target})
    paper = {"linearisation": Linearisation("dummy"), "zeroth": "none", "calibrated": False, "stop": "never"}
    warm = 0.0
    if device.type == "cuda":
        warm, _ = timed(device, lambda: AutoDAN(max_new_tokens=1, **paper).search(problem))
    times: list[float] = []

    def note(beam: object) -> None:
        finish(device)
        times.append(time.perf_counter())

    begun = time.perf_counter()
    busy, found = gpu_busy(device, lambda: AutoDAN(max_new_tokens=steps, **paper).search(problem, note))
    each = [after - before for before, after in zip([begun, *times], times, strict=False)]
    return {
        "first_search_of_one_step_s": warm,
        "steps": len(each),
        "s_per_step": each,
        "s_per_photograph_of_16_tokens": sum(each) / len(each) * TOKENS,
        "candidates_per_s": found.evaluations / sum(each),
        "gpu_busy": busy,
        **memory(device),
    }


def fit(device: torch.device, steps: int) -> dict[str, Any]:
    """Both fits of the FUSE paper (it reports 4 min 22 s on a workstation)."""
    from fuse_repro.algebra.t_product import TLeastSquares

    figures: dict[str, Any] = {}
    for target in (512, 768):
        begun = time.perf_counter()
        for depth in (1, 2, 3, 4):
            generator = torch.Generator(device).manual_seed(depth)
            equations = TLeastSquares(1024, target, (depth,), dtype=torch.float64, device=device)
            for _ in range(WORDS // 512):
                sides = (
                    torch.randn(512, d, depth, generator=generator, device=device) for d in (1024, target)
                )
                equations.update(*sides)
            equations.solve()
        finish(device)
        figures[f"s_1024_to_{target}"] = time.perf_counter() - begun
    return figures | memory(device)


def transfer(device: torch.device, steps: int) -> dict[str, Any]:
    """The closed form and the paper's search for one prompt."""
    from fuse_repro.adapters import RelativePromptTransfer

    source, target = paper_models.roberta_large().to(device), paper_models.bert_base().to(device)
    prompt = source.embed(torch.arange(1000, 1005, device=device)) + 0.01
    figures = {}
    for solver in ("closed_form", "adam"):
        moved = RelativePromptTransfer.fit(
            source, target, k=8192, centre=False, ridge=1e-3, solver=solver, steps=2000, rescale="after"
        )
        moved.transfer(prompt) if solver == "closed_form" else None
        figures[f"{solver}_s"], _ = timed(device, lambda moved=moved: moved.transfer(prompt))
    return {"anchors": len(moved.anchors), **figures, **memory(device)}


def evaluate(device: torch.device, steps: int) -> dict[str, Any]:
    """Facts a second, each a text of about ten tokens, a prompt of five vectors and 20,000 candidates."""
    from fuse_repro.data.prompt_task import Item, PromptTask
    from fuse_repro.prompts import for_model, normal_init
    from fuse_repro.tasks import evaluate as ask

    figures = {}
    count = 32_000 if device.type == "cuda" else 320
    for lm in (paper_models.bert_base().to(device), paper_models.roberta_large().to(device)):
        words = [word for word in some_words(lm) if len(lm.tokenizer.word_ids([word])[0]) == 1]
        texts = (" ".join(words[i % 97 : i % 97 + 5 + i % 5]) for i in range(count))
        items = tuple(Item(text, words[i % len(words)]) for i, text in enumerate(texts))
        task = PromptTask(
            "facts",
            tuple(words),
            {"train": (Item("one", words[0]),), "dev": (Item("two", words[1]),), "test": items},
            "[X] is [Y] .",
        )
        prompt = for_model(lm, normal_init(lm, 5, torch.Generator().manual_seed(0)))
        taken, _ = timed(device, lambda lm=lm, prompt=prompt, task=task: ask(lm, prompt, task))
        figures[f"{lm.name}_facts_per_s"] = count / taken
    return figures | memory(device)


def tune(device: torch.device, steps: int) -> dict[str, Any]:
    """A prompt for each of 41 relations in one forward pass (a CPU tunes two, for two steps)."""
    import tempfile
    from pathlib import Path

    from fuse_repro.data.prompt_task import Item, PromptTask
    from fuse_repro.runners.transfer.joint import Wanted, tuned_together
    from fuse_repro.runners.transfer.settings import PromptTuning

    lm = paper_models.bert_base().to(device)
    words = [word for word in some_words(lm) if len(lm.tokenizer.word_ids([word])[0]) == 1]
    prompts, taken = (41, 40) if device.type == "cuda" else (2, 2)
    settings = PromptTuning(
        torch_optimizer={"_target_": "torch.optim.Adam", "lr": 0.003},
        max_steps=taken,
        batch_size=16,
        evaluate_every=taken,
        together=prompts,
    )

    def task(number: int) -> PromptTask:
        draw = torch.Generator().manual_seed(number)
        picks = torch.randint(len(words), (16 * taken + 32, 8), generator=draw).tolist()
        items = tuple(Item(" ".join(words[i] for i in row[1:]), words[row[0]]) for row in picks)
        splits = {"train": items[32:], "dev": items[:16], "test": items[16:32]}
        return PromptTask(f"relation_{number}", tuple(words), splits, "[X] is [Y] .")

    wanted = [Wanted(task(number), settings) for number in range(prompts)]
    with tempfile.TemporaryDirectory() as folder:
        seconds, found = timed(device, lambda: tuned_together(lm, wanted, Path(folder)))
    steps_taken = found[0].steps
    each = seconds / steps_taken
    per_prompt = each / prompts
    return {
        "prompts": prompts,
        "steps": steps_taken,
        "s_per_step": each,
        "s_of_41_prompts_500_steps": per_prompt * 41 * 500,
        **memory(device),
    }


PARTS: dict[str, Callable[[torch.device, int], dict[str, Any]]] = {
    "search": search, "fit": fit, "transfer": transfer, "evaluate": evaluate, "tune": tune,
}  # fmt: skip


def some_words(model: Any) -> list[str]:
    """Words of letters alone, from the tokenizer itself, so that no list of words has to be installed."""
    decoded = (
        text.strip()
        for text in model.tokenizer.decode(
            [[i] for i in range(1000, 40_000) if i < model.tokenizer.vocab_size]
        )
    )
    return list(
        dict.fromkeys(word for word in decoded if word.isascii() and word.isalpha() and len(word) > 2)
    )


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of an action, and what it gave."""
    finish(device)
    begun = time.perf_counter()
    value = action()
    finish(device)
    return time.perf_counter() - begun, value


def gpu_busy(device: torch.device, action: Callable[[], Any]) -> tuple[float | None, Any]:
    """The share of the time in which a kernel ran, by torch's profiler; None on a CPU."""
    if device.type != "cuda":
        return None, action()
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        taken, value = timed(device, action)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in seen.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    covered, reached = 0.0, 0.0
    for start, end in spans:
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered / 1e6 / taken, value


def memory(device: torch.device) -> dict[str, float]:
    """The most memory that was held, in GiB."""
    if device.type == "cuda":
        return {"peak_gpu_gib": torch.cuda.max_memory_allocated(device) / 2**30}
    import resource

    return {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def about(device: torch.device) -> dict[str, Any]:
    """The card and the versions."""
    import transformers

    found = {"torch": torch.__version__, "transformers": transformers.__version__}
    return found | ({"card": torch.cuda.get_device_name(device)} if device.type == "cuda" else {})


def main() -> None:
    """Every part in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", action="append", choices=list(PARTS))
    parser.add_argument("--seconds", type=float, default=100.0, help="time limit of each part")
    parser.add_argument("--steps", type=int, default=TOKENS, help="of the search; on a CPU always 1")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    device = torch.device(given.device)
    steps = given.steps if device.type == "cuda" else 1
    if given.part:
        print(json.dumps(PARTS[given.part](device, steps)))
        return
    figures: dict[str, Any] = about(device)
    for part in given.only or PARTS:
        command = [sys.executable, __file__, "--part", part, "--device", given.device, "--steps", str(steps)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=given.seconds, check=True)
            figures[part] = json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            figures[part] = {"unfinished_after_s": given.seconds}
        except subprocess.CalledProcessError as error:
            figures[part] = {"failed": (error.stderr.strip().splitlines() or ["no word"])[-1]}
        print(part, json.dumps(figures[part]), flush=True)
    report(f"{'gpu_' if device.type == 'cuda' else ''}paper_scale", figures)


if __name__ == "__main__":
    main()
