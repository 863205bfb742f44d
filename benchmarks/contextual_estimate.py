"""Which estimate of a prompt with one more word fits encoders that pool at one token, as CLIP does?

    python benchmarks/contextual_estimate.py $FUSE_REPRO_DATA/coco/karpathy_test_captions.jsonl.gz

Spearman of the estimated against the true cosine distance over 300 words, with the estimates n E(p) + 2 x(w) of
fuse_repro.models.in_context:

    alone            the word by itself
    own embedding    x(w) = E(w), the rule of mean pooling
    after an article x(w) = E("a w") - E("a")
    fitted           c + b E(w), with c and b from 16 true embeddings of the very prompt, for comparison

Encoders: two text towers of CLIP's architecture that differ in their pooling only, each taught by MiniLM in the same
way (about 5 minutes each); MiniLM itself; and the tests' tiny models, whose weights are random.
"""

import gzip
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _common import RESULTS, load, report
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from fuse_repro.metrics.fidelity import spearman
from fuse_repro.metrics.statistics import paired_difference
from fuse_repro.models.clip import ClipDualEncoder
from fuse_repro.models.in_context import contributions, with_each_word
from fuse_repro.models.text_encoder import TextEncoder

sys.path.insert(0, str(RESULTS.parents[1] / "tests"))
import tiny_models
from tiny_tokenizers import SENTENCES

WIDTH, LAYERS, POSITIONS = 128, 2, 48
TAUGHT, STEPS, BATCH, RATE = 6000, 800, 128, 2e-3
CAPTIONS, LENGTHS, WORDS = 12, (0, 2, 4, 8, 12), 300
FITTED = 16
PREFIX = "An image of"
Prompts = Mapping[int, Sequence[tuple[str, str]]]  # words after the prefix -> (prompt, target text)


class MeanClip(ClipDualEncoder):
    """The same text tower with the mean of all outputs in place of the last one."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.pooling = "mean"

    def _pool(self, embeddings: Tensor, lengths: Tensor | None) -> Tensor:
        tower, size = self.model.text_model, embeddings.shape[1]
        outputs = tower.final_layer_norm(self._outputs(embeddings))
        real = torch.arange(size) < (torch.tensor([size]) if lengths is None else lengths)[:, None]
        pooled = (outputs * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return self.model.text_projection(pooled)


def tower(kind: type[ClipDualEncoder], teacher: TextEncoder) -> ClipDualEncoder:
    """A small text tower with the teacher's tokens, whose embeddings begin as the teacher's principal components."""
    from transformers import CLIPConfig, CLIPModel

    tokenizer = teacher.tokenizer
    layers = {"num_hidden_layers": LAYERS, "num_attention_heads": 4}
    text = {
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.prefix_ids[0],
        "eos_token_id": tokenizer.suffix_ids[0],
        **layers,
    }
    vision = {"hidden_size": 32, "image_size": 16, "patch_size": 8, "intermediate_size": 32, **layers}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=teacher.output_size)
    encoder = kind(CLIPModel(config), tokenizer, None, name=kind.__name__)
    table = teacher.embedding_table().float()
    _, _, basis = torch.pca_lowrank(table, q=WIDTH, niter=2)
    own = (table - table.mean(0)) @ basis
    embeddings = encoder.model.text_model.embeddings
    embeddings.token_embedding.weight.data[: len(own)] = own / own.std()
    torch.nn.init.normal_(embeddings.position_embedding.weight, std=0.1)
    return encoder


def teach(encoder: ClipDualEncoder, texts: Sequence[str], targets: Tensor) -> float:
    """Brings the encoder's embeddings near the targets [n, e]; returns the mean cosine of the last 50 steps."""
    parts = (encoder.model.text_model, encoder.model.text_projection)
    weights = [weight.requires_grad_(True) for part in parts for weight in part.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    ids, draw = encoder.tokenizer.encode(texts), random.Random(0)
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    cosines = []
    for _ in range(STEPS):
        begin = draw.randrange(len(order) - BATCH)
        rows = order[begin : begin + BATCH]  # of about one length
        size = max(len(ids[row]) for row in rows)
        padding = [[0] * (size - len(ids[row])) for row in rows]
        tokens = torch.tensor([ids[row] + zeros for row, zeros in zip(rows, padding, strict=True)])
        mask = torch.tensor([[1] * (size - len(zeros)) + zeros for zeros in padding])
        found = encoder(encoder.embed(tokens), mask)
        near = (found * targets[rows]).sum(1).mean()
        loss = cross_entropy(20 * found @ targets[rows].T, torch.arange(BATCH)) + 5 * (1 - near)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        cosines.append(float(near.detach()))
    encoder.requires_grad_(False)
    return sum(cosines[-50:]) / 50


def fragments(captions: Sequence[str], words: Sequence[str]) -> list[str]:
    """Pieces of captions of 1 to 14 words, one in five after the search's prefix, and as many single words."""
    draw, found = random.Random(1), {}
    while len(found) < TAUGHT:
        whole = draw.choice(captions).rstrip(".").split()
        begin = draw.randrange(len(whole))
        piece = " ".join(whole[begin : begin + draw.randint(1, 14)])
        found[draw.choice([piece, piece, piece, f"{PREFIX} {piece}", draw.choice(words)])] = None
    return list(found)


def cut(pairs: Sequence[tuple[str, str]], lengths: Sequence[int]) -> Prompts:
    """The search's prefix and so many words of the first text, each with the second text."""
    return {
        n: [(" ".join([PREFIX, *text.rstrip(".").split()[:n]]), other) for text, other in pairs]
        for n in lengths
    }


@torch.no_grad()
def measure(encoder: TextEncoder, prompts: Prompts, words: Sequence[str]) -> dict[str, Any]:
    """Mean Spearman of every estimate, over all prompts and per prompt length."""
    alone = encoder.encode(words)
    brought = {"own embedding": alone, "after an article": contributions(encoder, words)}
    chosen = torch.randperm(len(words), generator=torch.Generator().manual_seed(0))[:FITTED]
    rows: dict[int, list[dict[str, float]]] = {}
    for length, pairs in prompts.items():
        for prompt, other in pairs:
            (target,) = encoder.encode([other])
            true = encoder.encode([f"{prompt} {word}" for word in words])
            estimates = {"alone": alone} | {
                name: next(with_each_word(encoder, [prompt], part)) for name, part in brought.items()
            }
            estimates["fitted"] = fitted(alone, true, chosen)
            truth = 1 - true @ target
            rows.setdefault(length, []).append(
                {name: spearman(1 - own @ target, truth) for name, own in estimates.items()}
            )
    every = [row for group in rows.values() for row in group]
    gain = paired_difference(
        *([row[name] for row in every] for name in ("after an article", "own embedding"))
    )
    return {
        "prompts": len(every),
        "spearman": average(every),
        "by words of the prompt": {n: average(group) for n, group in rows.items()},
        "after an article minus own embedding": vars(gain),
    }


def fitted(words: Tensor, true: Tensor, chosen: Tensor) -> Tensor:
    """c + b w for every word, [n, e], with least squares over the words `chosen`: c is a vector, b a number."""
    centre, mean = words[chosen].mean(0), true[chosen].mean(0)
    known = words[chosen] - centre
    slope = (known * (true[chosen] - mean)).sum() / known.square().sum()
    return normalize(mean + slope * (words - centre), dim=-1)


def average(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(sum(row[name] for row in rows) / len(rows), 3) for name in rows[0]}


def main(path: Path) -> None:
    with gzip.open(path, "rt") as file:
        photos = [json.loads(line)["captions"] for line in file]
    shown = [text for texts in photos[CAPTIONS : CAPTIONS + 2000] for text in texts]
    (teacher,) = load("vision")
    known = sorted({word.lower().strip(".,") for text in shown for word in text.split()})
    known = [word for word in known if word.isalpha() and len(word) > 2]
    words = random.Random(2).sample(known, WORDS)
    texts = fragments(shown, known)
    targets = teacher.encode(texts).clone()
    prompts = cut([(texts[0], texts[1]) for texts in photos[:CAPTIONS]], LENGTHS)
    figures: dict[str, Any] = {}
    for name, kind in (("one token", ClipDualEncoder), ("mean", MeanClip)):
        student = tower(kind, teacher)
        cosine = teach(student, texts, targets)
        figures[f"CLIP tower taught by MiniLM, {name}"] = {
            "cosine to MiniLM": round(cosine, 3),
            **measure(student, prompts, words),
        }
    figures["MiniLM, mean"] = measure(teacher, prompts, words)
    few = cut([(SENTENCES[i], SENTENCES[i + 1]) for i in range(len(SENTENCES) - 1)], (0, 2, 4))
    own = sorted({word.strip(".") for text in SENTENCES for word in text.split()})
    for name, make in (("CLIP", tiny_models.tiny_clip), ("SigLIP", tiny_models.tiny_siglip)):
        for seed in (0, 1):
            figures[f"tiny {name} of random weights {seed}, one token"] = measure(make(seed), few, own)
    report("contextual_estimate", figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
