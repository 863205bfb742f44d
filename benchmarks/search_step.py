"""The language model's share of a search step: ours against one full forward pass per candidate.

    python benchmarks/search_step.py

Both score the same 512 candidates of each of 5 prompts. Ours reads log p(c | prompt) off the cached forward pass that
proposed them; the plain implementation runs the model over every extended prompt.
"""

import torch
from _common import load, report, seconds

from fuse_repro.objectives import prompt_nll
from fuse_repro.search.candidates import propose

PROMPTS = (
    "An image of a man riding a wave on",
    "An image of a woman holding a red umbrella",
    "An image of two dogs playing in the",
    "An image of a plate with some food",
    "An image of a train that is standing at",
)
CANDIDATES = 512


def main() -> None:
    (lm,) = load("lm")
    tokenizer = lm.tokenizer
    prompts = [tuple(ids[:8]) for ids in tokenizer.encode(PROMPTS)]
    assert len({len(ids) for ids in prompts}) == 1
    before, _ = prompt_nll(lm, prompts)
    known = lm.start(torch.tensor([ids[:-1] for ids in prompts]))
    last = torch.tensor([ids[-1] for ids in prompts])
    rows = torch.arange(len(prompts))
    candidates = propose(known.advance(rows, last).log_probs, prompts, tokenizer, CANDIDATES)
    owners = torch.tensor([c.row for c in candidates])
    tokens = torch.tensor([c.token for c in candidates])

    def ours() -> torch.Tensor:
        return before[owners] - known.advance(rows, last).log_probs[owners, tokens]

    def plain() -> torch.Tensor:
        extended = [(*prompts[c.row], c.token) for c in candidates]
        parts = [extended[begin : begin + 64] for begin in range(0, len(extended), 64)]
        return torch.cat([prompt_nll(lm, part)[0] for part in parts])

    difference = float((ours() - plain()).abs().max())
    ours_s, plain_s = seconds(ours, 5), seconds(plain, 1)
    report(
        "search_step",
        {
            "candidates": len(candidates),
            "prompt_tokens": len(prompts[0]),
            "plain_seconds": plain_s,
            "ours_seconds": ours_s,
            "ratio": plain_s / ours_s,
            "largest_difference_of_summed_nll_in_nats": difference,
        },
    )


if __name__ == "__main__":
    main()
