"""The answer term's value by itself: whole texts, plain transformers, no parts and nothing kept."""

import torch

from fuse_repro.data.prompt_task import Item
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.masked_lm import MaskedLM

FACTS = (
    Item("The capital of France", "Paris"),
    Item("A dog", "cat"),
    Item("A train down the tracks", "zebra stripes"),
    Item("Zürich", "a small village"),
)
PROMPTS = (" in the city of", " the dog runs", " in the city of a", " stands next to the old bridge")
CHAT = (
    "{% for m in messages %}<|user|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def filled(template: str, prompt: str, item: Item, answer: str) -> str:
    """The whole text; " in" and "in" are the same behind a space."""
    prompt = prompt.removeprefix(" ") if " {prompt}" in template else prompt
    return template.replace("{prompt}", prompt).replace("[X]", item.text).replace("[Y]", answer)


@torch.no_grad()
def plain_nll(lm: FrozenModel, template: str, prompt: str, item: Item, special: bool = True) -> torch.Tensor:
    """Nats per token of one answer, by the model's own tokenizer and forward pass."""
    tokenizer, width = lm.tokenizer.tokenizer, lm.tokenizer.vocab_size

    def ids(answer: str) -> list[int]:
        return tokenizer(filled(template, prompt, item, answer), add_special_tokens=special)["input_ids"]

    def bare(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    if isinstance(lm, MaskedLM):
        before = "" if template.startswith("[Y]") else "a"
        answer = bare(f"{before} {item.answer}".strip())[len(bare(before)) :]
        whole = torch.tensor([ids(tokenizer.mask_token * len(answer))])
        logits = lm.model(input_ids=whole).logits[0, whole[0] == tokenizer.mask_token_id, :width]
        labels = torch.tensor(answer)
    else:
        left = filled(template.removesuffix("[Y]").removesuffix(" "), prompt, item, "")
        begin = len(tokenizer(left, add_special_tokens=special)["input_ids"])
        whole = torch.tensor([ids(item.answer)])
        logits = lm.model(input_ids=whole).logits[0, begin - 1 : -1, :width]
        labels = whole[0, begin:]
    return -logits.log_softmax(-1).gather(-1, labels[:, None]).mean()


def plain_term(
    lm: FrozenModel, template: str, prompts: tuple[str, ...], items: tuple[Item, ...]
) -> torch.Tensor:
    """[B], the term."""
    return torch.stack(
        [torch.stack([plain_nll(lm, template, prompt, item) for item in items]).mean() for prompt in prompts]
    )
