"""What a language model would say next, at every place of a prompt.

Function words hardly show in gradients and estimates: each says little by itself. A text of another writer has them
all the same, where a language model expects them. So these tokens are tried, also where fluency does not count.
"""

from collections.abc import Sequence

import torch

from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.search.constraints import Permitted
from fuse_repro.search.edits import Prompt, exchanges, insertions

SPARE = 4  # more tokens are looked at, since some do not survive or are known


@torch.no_grad()
def likely_tokens(lm: CausalLM, prompt: Prompt, permitted: Permitted, count: int) -> dict[int, list[int]]:
    """Of every place behind the prefix, the one at the end too: its most probable tokens after those before it.

    A first place with nothing in front has none, unless the tokenizer has a token that begins a text.

    Args:
        lm: the language model.
        prompt: S token ids.
        permitted: what may be written.
        count: how many tokens there are for each place.
    """
    begin = lm.tokenizer.begin_id
    front = list(lm.tokenizer.prefix_ids) or ([] if begin is None else [begin])
    places = [place for place in range(permitted.begin, len(prompt) + 1) if place or front]
    if not places:
        return {}
    ids = torch.tensor([[*front, *prompt]], device=lm.device)
    rows = lm(lm.embed(ids))[0, [len(front) + place - 1 for place in places]].float()
    return dict(zip(places, permitted.best(-rows, count).tolist(), strict=True))


def with_likely(
    lm: CausalLM, prompt: Prompt, permitted: Permitted, count: int, room: bool
) -> Sequence[Sequence[Prompt]]:
    """For every place the prompts with one of its likely tokens, more than `count`, the likeliest first.

    With room the token is put in, else it stands instead of another one.
    """
    found = []
    for place, tokens in likely_tokens(lm, prompt, permitted, count + SPARE).items():
        if room:
            found.append(insertions(prompt, [place] * len(tokens), tokens))
        elif place < len(prompt):
            found.append(exchanges(prompt, place, tokens))
    return found
