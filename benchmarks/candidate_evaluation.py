"""How near candidate evaluation comes to the machine's own matrix-product speed.

    python benchmarks/candidate_evaluation.py

Encodes 2,560 candidate prompts of 12 tokens (5 prompts x 512 candidates), the work of one search step, and divides its
matrix-product operations by its time and by the speed of one large float32 product measured in the same run. The
profile lists the operators that take the most time, and the same work with the plain way of batching: in the order
given, padded to the longest, with a mask.
"""

import random

import torch
from _common import load, report, seconds
from torch.profiler import ProfilerActivity, profile

WORDS = (
    "a",
    "man",
    "woman",
    "dog",
    "cat",
    "red",
    "small",
    "plate",
    "train",
    "bus",
    "tree",
    "table",
    "chair",
    "ball",
    "sky",
)


def prompts(tokenizer: object, count: int, tokens: int) -> list[str]:
    """Distinct texts of up to this many tokens."""
    draw = random.Random(0)
    texts: set[str] = set()
    while len(texts) < count:
        text = "An image of " + " ".join(draw.choices(WORDS, k=tokens - 5 + draw.choice((-1, 0, 1))))
        texts.add(text)
    return sorted(texts)


def matmul_peak(size: int = 2048) -> float:
    """Operations per second of one large float32 product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / seconds(lambda: a @ b, 9)


def operations(encoder: torch.nn.Module, rows: int, tokens: int) -> float:
    """Multiply-adds, counted as two operations, of the encoder's matrix products."""
    config = encoder.model.config
    d, layers, inner = config.hidden_size, config.num_hidden_layers, config.intermediate_size
    per_token = layers * (4 * d * d + 2 * d * inner + 2 * tokens * d)
    return 2.0 * rows * tokens * per_token


def padded(encoder: torch.nn.Module, texts: list[str], batch_size: int = 64) -> torch.Tensor:
    """The plain way: batches in the order given, padded, masked."""
    rows = []
    with torch.no_grad():
        for begin in range(0, len(texts), batch_size):
            part = encoder.tokenizer.tokenizer(
                texts[begin : begin + batch_size], padding=True, return_tensors="pt"
            )
            hidden = encoder.model(**part).last_hidden_state
            mask = part["attention_mask"][..., None].float()
            rows.append((hidden * mask).sum(1) / mask.sum(1))
    return torch.nn.functional.normalize(torch.cat(rows), dim=-1)


def main() -> None:
    (vision,) = load("vision")
    encoder = vision.encoder if hasattr(vision, "encoder") else vision
    texts = prompts(encoder.tokenizer, 2560, 12)
    lengths = [len(ids) + 2 for ids in encoder.tokenizer.encode(texts)]
    work = sum(operations(encoder, 1, length) for length in lengths)
    peak = matmul_peak()
    ours = seconds(lambda: encoder.encode(texts), 3)
    plain = seconds(lambda: padded(encoder, texts), 1)
    tokenising = seconds(lambda: encoder.tokenizer.encode(texts), 5)
    difference = float((encoder.encode(texts) - padded(encoder, texts)).abs().max())
    with profile(activities=[ProfilerActivity.CPU]) as record:
        encoder.encode(texts)
    rows = sorted(record.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    report(
        "candidate_evaluation",
        {
            "texts": len(texts),
            "mean_tokens_with_special": sum(lengths) / len(lengths),
            "matmul_peak_gflops": peak / 1e9,
            "seconds": ours,
            "gflops": work / ours / 1e9,
            "share_of_peak": work / ours / peak,
            "tokenising_share": tokenising / ours,
            "plain_seconds": plain,
            "plain_over_ours": plain / ours,
            "largest_difference": difference,
            "profile": {row.key: round(row.self_cpu_time_total / total, 3) for row in rows[:10]},
        },
    )


if __name__ == "__main__":
    main()
