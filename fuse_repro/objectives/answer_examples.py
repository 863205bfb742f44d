"""Texts and their answers, made ready once for one model and one template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

    @property
    def longest(self) -> int:
        """How many tokens the longest example has without a prompt."""
        return max(
            sum(map(len, pieces)) + len(answer)
            for pieces, answer in zip(self.pieces, self.answers, strict=True)
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
            not among the answers, or a competing answer that is not one token.
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
    starts, memory = _read(lm, [before for before, _, _ in pieces])
    if not isinstance(lm, MaskedLM):
        pieces = [(before, between, ()) for before, between, _ in pieces]
    return AnswerExamples(tuple(pieces), tuple(answers), candidates, gold, starts, memory)


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


def _read(lm: FrozenModel, texts: Sequence[Ids]) -> tuple[tuple[int, ...], KeysValues | None]:
    """The keys and values of texts, each different one once, and the number of every text among these."""
    numbers: dict[Ids, int] = {}
    starts = tuple(numbers.setdefault(text, len(numbers)) for text in texts)
    distinct = list(numbers)
    if not isinstance(lm, CausalLM) or not all(distinct) or not lm.keeps_plain_memory:
        return starts, None
    return starts, KeysValues.of(lm, distinct) if cache_bytes(lm, distinct) <= MAX_CACHE_BYTES else None
