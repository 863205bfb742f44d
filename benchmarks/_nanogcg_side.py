"""nanoGCG's side of against_nanogcg.py; runs in an environment of its own, which has nanogcg and no fuse_repro.

It reads one JSON object from standard input and writes one line per target to standard output.
"""

import json
import sys
import time

import nanogcg
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    given = json.load(sys.stdin)
    torch.set_num_threads(given["threads"])
    device = given["device"]
    model = AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.float32).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(given["model"])
    for number, target in enumerate(given["targets"]):
        settings = nanogcg.GCGConfig(
            num_steps=given["steps"],
            optim_str_init=given["starts"][number],
            search_width=given["candidates"],
            topk=given["top_k"],
            use_prefix_cache=False,  # its cache is of a kind that transformers 5 does not take
            seed=number,
            verbosity="ERROR",
        )
        message = [{"role": "user", "content": given["message"] + "{optim_str}"}]
        begun, cpu = time.perf_counter(), time.process_time()
        found = nanogcg.run(model, tokenizer, message, target, settings)
        row = {
            "losses": found.losses,
            "best": found.best_string,
            "seconds": time.perf_counter() - begun,
            "cpu_seconds": time.process_time() - cpu,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
