"""Beginnings that rows have in common, read once: of prompts that differ late, and of prompts that stand first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.keys_values import KeysValues, cache_bytes
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.objectives.answer_examples import MAX_CACHE_BYTES, AnswerExamples
from fuse_repro.objectives.answer_passes import Row
from fuse_repro.objectives.answer_template import Ids

WORTH = 0.2  # share of the prompts' tokens that passes over their beginnings have to save
STRIDE = 3  # tokens


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


@dataclass(frozen=True)
class Known:
    """What is known of prompts behind every text that stands before them.

    Attributes:
        memory: keys and values; None where nothing is known.
        lengths: how many tokens of every prompt are known.
        numbers: the number of what stands before, and the known beginning of a prompt -> its number in `memory`.
    """

    memory: KeysValues | None
    lengths: Sequence[int]
    numbers: Mapping[tuple[int, Ids], int]

    def read_on(self, lm: CausalLM, prompts: Sequence[Ids], lengths: Sequence[int]) -> Known:
        """So many tokens of every prompt; every beginning is read once."""
        wanted = {}
        for prompt, old, new in zip(prompts, self.lengths, lengths, strict=True):
            for start in dict.fromkeys(start for start, _ in self.numbers):
                wanted[start, prompt[:new]] = (self.numbers[start, prompt[:old]], prompt[old:new])
        parents, more = zip(*wanted.values(), strict=True)
        if self.memory is None and not all(more):
            return self  # a beginning of no token has no keys and values
        memory = KeysValues.of(lm, more) if self.memory is None else self.memory.continued(parents, more)
        return Known(memory, lengths, {key: number for number, key in enumerate(wanted)})

    def cut(self, prompts: Sequence[Ids], lengths: Sequence[int], owners: Sequence[Ids]) -> Known:
        """Fewer tokens of every prompt: `lengths[i]` of those of the known beginning `owners[i]`."""
        assert self.memory is not None
        wanted = {}
        for prompt, length, owner in zip(prompts, lengths, owners, strict=True):
            for start in dict.fromkeys(start for start, _ in self.numbers):
                number = self.numbers[start, owner]
                less = len(owner) - length
                wanted[start, prompt[:length]] = (number, self.memory.lengths[number] - less)
        rows, counts = zip(*wanted.values(), strict=True)
        return Known(
            self.memory.beginnings(rows, counts), lengths, {key: number for number, key in enumerate(wanted)}
        )


def _rows(
    lm: CausalLM, examples: AnswerExamples, prompts: Sequence[Ids], befores: Sequence[Ids]
) -> tuple[list[Row], KeysValues | None]:
    empty = any(not between for _, between, _ in examples.pieces)
    # Where nothing stands between, the state that says the answer's first token is still to come.
    most = [len(prompt) - empty for prompt in prompts]
    nothing: dict[tuple[int, Ids], int] = {(start, ()): start for start in range(len(befores))}
    known = Known(examples.memory, [0] * len(prompts), nothing)
    shared = _shared(prompts, most)
    owners = _owners([prompt[:length] for prompt, length in zip(prompts, shared, strict=True)])
    saved = sum(shared) - sum(map(len, set(owners)))
    if saved >= WORTH * sum(map(len, prompts)) and (known.memory is not None or all(shared)):
        known = known.read_on(lm, owners, [len(owner) for owner in owners]).cut(prompts, shared, owners)
    if len(befores) < len(examples) and max(most) > 0:
        known = known.read_on(lm, prompts, most)
    rows = []
    for place, prompt in enumerate(prompts):
        for example, answer in enumerate(examples.answers):
            head = (*prompt[known.lengths[place] :], *examples.pieces[example][1])
            start = known.numbers[examples.starts[example], prompt[: known.lengths[place]]]
            rows.append(Row((*head, *answer[:-1]), len(head) - 1, _labels(examples, example), start, place))
    return rows, known.memory


def _shared(prompts: Sequence[Ids], most: Sequence[int]) -> list[int]:
    """How many tokens every prompt begins with that another one begins with, too, at the most; in steps of STRIDE.

    Prompts that differ in one token from a common one (GCG) so share what stands before that token. In steps, since
    rows of one length share a forward pass.
    """
    shared = [0] * len(prompts)
    for depth in range(STRIDE, max(most) + 1, STRIDE):
        owners = Counter(
            prompt[:depth] for prompt, limit in zip(prompts, most, strict=True) if depth <= limit
        )
        shared = [
            depth if depth <= limit and owners[prompt[:depth]] > 1 else before
            for prompt, limit, before in zip(prompts, most, shared, strict=True)
        ]
    return shared


def _owners(beginnings: Sequence[Ids]) -> list[Ids]:
    """For every beginning the longest one that begins with it."""
    longest: dict[Ids, Ids] = {}
    last: Ids = ()
    for beginning in sorted(
        set(beginnings), reverse=True
    ):  # what goes on with a beginning comes just before it
        last = last if last[: len(beginning)] == beginning else beginning
        longest[beginning] = last
    return [longest[beginning] for beginning in beginnings]


def _labels(examples: AnswerExamples, example: int) -> Ids:
    return examples.answers[example] if examples.candidates is None else (examples.gold[example],)
