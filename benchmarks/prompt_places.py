"""Where PEFT puts a soft prompt, and how much a model feels it there: in front of BOS, behind it, with BOS once more.

A prompt of five vectors is tuned in front on SmolLM2, for reviews of SST-2, and moved to Gemma 3; another one is tuned
on Gemma 3 in front. For every place: precision@1 on 160 reviews, and the mean Kullback-Leibler divergence, in nats,
from the next token without the prompt to that with it. docs/move.md has the figures.

    python benchmarks/prompt_places.py sst2/dev.tsv
"""

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from fuse_repro import schema
from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.runners.build import build, build_fit
from fuse_repro.runners.transfer.methods import fit_map
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.tuning import tuned_prompt
from fuse_repro.tasks.answers import single_tokens
from fuse_repro.tasks.predict import answer_logits
from fuse_repro.weights import cache_folder

WORDS = ("terrible", "great")
PARTS = {"train": (0, 80), "dev": (80, 140), "test": (140, 300)}
SETTINGS = PromptTuning(
    position="prefix",
    init="vocabulary",
    max_steps=60,
    batch_size=8,
    torch_optimizer={"_target_": "torch.optim.Adam", "lr": 0.003},
)
Place = Callable[[Tensor], Tensor]


def reviews(path: Path) -> PromptTask:
    """300 lines of SST-2, each with the beginning of the answer behind it."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.rsplit("\t", 1) for line in lines]
    random.Random(0).shuffle(rows)
    items = [Item(f"{text.strip()} It was", WORDS[int(label)]) for text, label in rows]
    splits = {split: tuple(items[slice(*part)]) for split, part in PARTS.items()}
    return PromptTask("sst", WORDS, splits, "[X] [Y] .")


def places(lm: CausalLM, prompt: Tensor) -> dict[str, Place]:
    """Place -> what the model reads [S, d] of a text's embeddings."""
    bos = lm.embed(torch.tensor(lm.tokenizer.prefix_ids, dtype=torch.long))
    return {
        "no prompt": lambda text: torch.cat([bos, text]),
        "in front of everything": lambda text: torch.cat([prompt, bos, text]),
        "behind BOS": lambda text: torch.cat([bos, prompt, text]),
        "behind BOS, and BOS once more": lambda text: torch.cat([bos, prompt, bos, text]),
    }


@torch.inference_mode()
def asked(lm: CausalLM, items: Sequence[Item], place: Place) -> tuple[float, Tensor]:
    """Precision@1, and the log-probabilities [items, V] of the next token."""
    tokens = single_tokens(lm, WORDS)
    ids = torch.tensor([tokens[word] for word in WORDS])
    found, hits = [], 0
    for item in items:
        read = place(lm.embed(torch.tensor(lm.tokenizer.encode([item.text])[0])))[None]
        logits = answer_logits(lm, read, None, torch.tensor([read.shape[1] - 1]))[0].float()
        found.append(logits.log_softmax(dim=-1))
        hits += WORDS[int(logits[ids].argmax())] == item.answer
    return hits / len(items), torch.stack(found)


def table(title: str, lm: CausalLM, prompt: Tensor, items: Sequence[Item]) -> None:
    """Print one row per place."""
    without: Tensor | None = None
    for name, place in places(lm, prompt).items():
        accuracy, log_probs = asked(lm, items, place)
        without = log_probs if without is None else without
        nats = float((without.exp() * (without - log_probs)).sum(dim=-1).mean())
        print(f"| {title} | {name} | {100 * accuracy:.1f} | {nats:.3f} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reviews", type=Path, help="SST-2's dev.tsv: a header, then text TAB label")
    parser.add_argument("--cache", type=Path, help="where tuned prompts are kept")
    given = parser.parse_args(arguments)
    schema.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(schema.config_folder())):
        config = compose("config", ["experiment=move", "prompt=none", "models.target.accept_terms=true"])
    task, cache = reviews(given.reviews), given.cache or cache_folder(None)
    source, target = build(config.models.source), build(config.models.target)
    test = task.splits["test"]
    own = tuned_prompt(source, task, SETTINGS, cache).embeddings
    table("SmolLM2, tuned in front", source, own, test)
    with torch.no_grad():
        words = build(config.corpus).words()
        fitted = fit_map(build_fit(config.adapter), [source], target, words, cache_folder(None), [1.0])
        moved = fitted.solve([own]).prompt
    table("Gemma 3, that prompt moved", target, moved, test)
    table("Gemma 3, tuned in front", target, tuned_prompt(target, task, SETTINGS, cache).embeddings, test)


if __name__ == "__main__":
    main()
