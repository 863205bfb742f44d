"""Texts and their answers, made ready once for one model and one template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fuse_repro.data.prompt_task import SUBJECT, Item
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.keys_values import KeysValues, cache_bytes
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.objectives.answer_template import AnswerTemplate, Ids, Pieces

MAX_CACHE_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class AnswerExamples:
    """E examples as tokens of one model.

    Attributes:
        pieces: per example the tokens before, between and behind the prompt and the answer.
        answers: per example the tokens of its answer, at least one.
        candidates: [A] the tokens that an answer competes with; None for the whole vocabulary.
        gold: per example the number of its answer among the candidates.
        starts: per example the number of what stands before the prompt in `memory`.
        memory: the keys and values of that; None where the model or the template has none to keep.
    """

    pieces: tuple[Pieces, ...]
    answers: tuple[Ids, ...]
    candidates: Tensor | None
    gold: tuple[int, ...]
    starts: tuple[int, ...]
    memory: KeysValues | None

    def __len__(self) -> int:
        return len(self.answers)

    def only(self, numbers: Sequence[int]) -> AnswerExamples:
        """Some of the examples, at least one, by their numbers; nothing is read for it."""
        starts = list(dict.fromkeys(self.starts[number] for number in numbers))
        memory = self.memory
        if memory is not None:
            memory = memory.beginnings(starts, [memory.lengths[start] for start in starts])
        return AnswerExamples(
            tuple(self.pieces[number] for number in numbers),
            tuple(self.answers[number] for number in numbers),
            self.candidates,
            tuple(self.gold[number] for number in numbers) if self.gold else (),
            tuple(starts.index(self.starts[number]) for number in numbers),
            memory,
        )

    def check_length(self, name: str, lm: FrozenModel, prompt: int = 0) -> None:
        """Raises UsageError where an example is too long for the model with a prompt of so many tokens."""
        rows = zip(self.pieces, self.answers, strict=True)
        length = prompt + max(sum(map(len, pieces)) + len(answer) for pieces, answer in rows)
        if lm.max_tokens is not None and length > lm.max_tokens:
            raise UsageError(
                f"an example of {name} makes {length} tokens with its prompt and answer, but {lm.name} reads at most "
                f"{lm.max_tokens}: take shorter texts or prompts"
            )


def prepare(
    name: str,
    lm: FrozenModel,
    template: AnswerTemplate,
    examples: Sequence[Item],
    among: Sequence[str] | None,
) -> AnswerExamples:
    """Examples as tokens; what stands before the prompt is read, and its keys and values are kept.

    Args:
        name: of the term, for messages.
        lm: the model that answers.
        template: where everything stands.
        examples: texts and answers.
        among: the answers that compete; None for the whole vocabulary.

    Raises:
        UsageError: no examples, a text without a place or a place without a text, an answer without tokens, one that is
            not among the answers, a competing answer that is not one token, or an example that is too long.
    """
    require(len(examples) > 0, f"the target of {name}", list(examples), "at least one example")
    for example in examples:
        if bool(example.text) != template.has_text:
            raise UsageError(
                f"the template of objective.{name} has {'a' if template.has_text else 'no'} {SUBJECT}, but the text of "
                f"an example is {example.text!r}: write {SUBJECT} where texts stand, none for a fixed target"
            )
    words = [example.answer for example in examples]
    answers = template.encode_answers(lm.tokenizer, words)
    for word, ids in zip(words, answers, strict=True):
        require(
            bool(word.strip() and ids), f"an answer of {name}", word, f"a text that {lm.name} has tokens for"
        )
    candidates, gold = _compete(name, lm, template, words, among)
    pieces = template.encode(lm.tokenizer, [example.text for example in examples])
    if not isinstance(lm, MaskedLM):
        pieces = [(before, between, ()) for before, between, _ in pieces]
    numbers: dict[Ids, int] = {}
    starts = tuple(numbers.setdefault(before, len(numbers)) for before, _, _ in pieces)
    found = AnswerExamples(tuple(pieces), tuple(answers), candidates, gold, starts, None)
    found.check_length(name, lm)
    return replace(found, memory=_memory(lm, list(numbers)))


def _compete(
    name: str, lm: FrozenModel, template: AnswerTemplate, words: Sequence[str], among: Sequence[str] | None
) -> tuple[Tensor | None, tuple[int, ...]]:
    """The candidates, and which of them is every example's answer."""
    if among is None:
        return None, ()
    numbers: dict[int, int] = {}
    known = {}
    for word, ids in zip(among, template.encode_answers(lm.tokenizer, among), strict=True):
        if len(ids) != 1:
            raise UsageError(
                f"objective.{name}.candidates=answers compares answers of one token, but {lm.name} writes {word!r} "
                f"with {len(ids)}: take other answers, or candidates=vocabulary"
            )
        known[word] = numbers.setdefault(ids[0], len(numbers))
    strange = sorted(set(words) - set(known))
    require(not strange, f"answers of examples of {name}", strange[:5], "one of the answers that compete")
    return torch.tensor(list(numbers), device=lm.device), tuple(known[word] for word in words)


def _memory(lm: FrozenModel, texts: Sequence[Ids]) -> KeysValues | None:
    """The keys and values of these texts; None where they are not kept, or too large."""
    if not isinstance(lm, CausalLM) or not all(texts) or not lm.keeps_plain_memory:
        return None
    return KeysValues.of(lm, texts) if cache_bytes(lm, texts) <= MAX_CACHE_BYTES else None
