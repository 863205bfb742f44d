"""Beginnings that rows have in common, read once: of prompts that differ late, and of prompts that stand first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.keys_values import KeysValues, cache_bytes
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.objectives.answer_examples import MAX_CACHE_BYTES, AnswerExamples
from fuse_repro.objectives.answer_passes import Row
from fuse_repro.objectives.answer_template import Ids

WORTH = 0.2  # share of the prompts' tokens that a further pass has to save


def always_state(examples: AnswerExamples, prompts: Sequence[Ids]) -> bool:
    """Whether every row has a token between what stands before the prompt and the answer: its state says the answer."""
    return all(prompts) or all(between for _, between, _ in examples.pieces)


def can_share(lm: CausalLM, examples: AnswerExamples, prompts: Sequence[Ids]) -> bool:
    """Whether `shared_rows` can read these rows: all that stands before the prompts is known, or nothing does."""
    known = examples.memory is not None or not any(before for before, _, _ in examples.pieces)
    return known and always_state(examples, prompts) and lm.keeps_plain_memory


def whole_rows(
    lm: MaskedLM | CausalLM,
    examples: AnswerExamples,
    prompts: Sequence[Ids],
    prompt_first: bool,
    remembered: bool,
) -> list[Row]:
    """Every prompt with every example, prompt by prompt.

    Args:
        lm: the model that reads.
        examples: texts and answers.
        prompts: tokens of B prompts.
        prompt_first: whether prompts stand before answers.
        remembered: whether what stands before the prompts is left out, since the examples' memory has it.
    """
    rows = []
    for number, prompt in enumerate(prompts):
        for example, answer in enumerate(examples.answers):
            before, between, behind = examples.pieces[example]
            stem = (lm.mask_id,) * len(answer) if isinstance(lm, MaskedLM) else answer[:-1]
            known = () if remembered else before
            if prompt_first:
                head, tail, begin = (*known, *prompt, *between), behind, len(known)
            else:
                head, tail, begin = known, (*between, *prompt, *behind), len(known) + len(stem) + len(between)
            at = len(head) - (not isinstance(lm, MaskedLM))
            labels = _labels(examples, example)
            rows.append(Row((*head, *stem, *tail), at, labels, examples.starts[example], number, begin))
    return rows


def shared_rows(
    lm: CausalLM, examples: AnswerExamples, prompts: Sequence[Ids]
) -> Iterator[tuple[list[int], list[Row], KeysValues | None]]:
    """As `whole_rows`, but what several rows begin with is read once.

    Yields:
        The numbers of some prompts, their rows, prompt by prompt, and the memory that the rows go on from. Prompts are
        taken together as far as memory for keys and values goes.
    """
    order = sorted(range(len(prompts)), key=prompts.__getitem__)
    befores = list(dict.fromkeys(before for before, _, _ in examples.pieces))
    longest = max(map(len, befores)) + max(map(len, prompts))
    size = max(1, MAX_CACHE_BYTES // max(1, len(befores) * cache_bytes(lm, [(0,) * max(longest, 1)])))
    for begin in range(0, len(order), size):
        numbers = order[begin : begin + size]
        yield numbers, *_rows(lm, examples, [prompts[number] for number in numbers], befores)


def _rows(
    lm: CausalLM, examples: AnswerExamples, prompts: Sequence[Ids], befores: Sequence[Ids]
) -> tuple[list[Row], KeysValues | None]:
    empty = any(not between for _, between, _ in examples.pieces)
    most = [
        len(prompt) - empty for prompt in prompts
    ]  # the state that says the answer's first token is still to come
    memory = examples.memory
    numbers: dict[tuple[int, Ids], int] = {(start, ()): start for start in range(len(befores))}
    known = [0] * len(prompts)
    for depths in _steps(prompts, most, len(befores) < len(examples)):
        wanted = {}
        for prompt, old, new in zip(prompts, known, depths, strict=True):
            for start in range(len(befores)):
                wanted[start, prompt[:new]] = (numbers[start, prompt[:old]], prompt[old:new])
        parents, more = zip(*wanted.values(), strict=True)
        if memory is None and not all(more):
            continue  # a beginning of no token has no keys and values
        memory = KeysValues.of(lm, more) if memory is None else memory.continued(parents, more)
        numbers = {key: number for number, key in enumerate(wanted)}
        known = list(depths)
    rows = []
    for place, prompt in enumerate(prompts):
        for example, answer in enumerate(examples.answers):
            head = (*prompt[known[place] :], *examples.pieces[example][1])
            start = numbers[examples.starts[example], prompt[: known[place]]]
            rows.append(Row((*head, *answer[:-1]), len(head) - 1, _labels(examples, example), start, place))
    return rows, memory


def _steps(prompts: Sequence[Ids], most: Sequence[int], several: bool) -> list[list[int]]:
    """How many tokens of every prompt are known after each pass over beginnings.

    Args:
        prompts: the prompts.
        most: how many tokens of every prompt may be.
        several: whether several examples have the same before the prompt, so that they share all of the prompt.
    """
    steps = []
    deepest = max(most)
    total = sum(map(len, prompts))

    def saved(depth: int) -> int:
        beginnings = {prompt[: min(depth, limit)] for prompt, limit in zip(prompts, most, strict=True)}
        return sum(min(depth, limit) for limit in most) - sum(map(len, beginnings))

    best = max(range(deepest + 1), key=saved, default=0)
    if saved(best) >= WORTH * total and best > 0:
        steps.append([min(best, limit) for limit in most])
    if several and deepest > 0 and (not steps or steps[-1] != list(most)):
        steps.append(list(most))
    return steps


def _labels(examples: AnswerExamples, example: int) -> Ids:
    return examples.answers[example] if examples.candidates is None else (examples.gold[example],)
