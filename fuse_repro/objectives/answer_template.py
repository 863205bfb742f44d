"""Where a prompt, a text and its answer stand: `[X] {prompt} [Y]`, also inside the chat template of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fuse_repro.alignment.behind import ending, split_behind
from fuse_repro.alignment.words import CARRIER, Tokenized, WordTokenizer
from fuse_repro.data.prompt_task import ANSWER, SUBJECT
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.masked_lm import MaskedLM

PROMPT = "{prompt}"
Ids = tuple[int, ...]
Pieces = tuple[Ids, Ids, Ids]  # the tokens before, between and behind the prompt and the answer


@dataclass(frozen=True)
class AnswerTemplate:
    """A template in one model: three pieces of text, and the prompt and the answer between them.

    One space that stands before the prompt or the answer belongs to it, as it belongs to its first token in most
    tokenizers.

    Attributes:
        pieces: what stands before, between and behind the two; [X] may stand in any of them.
        spaced: whether a space stands before the first and before the second of them.
        prompt_first: whether the prompt is the first of them.
        chat: whether the pieces have the special tokens that belong around a text.
    """

    pieces: tuple[str, str, str]
    spaced: tuple[bool, bool]
    prompt_first: bool = True
    chat: bool = False

    @classmethod
    def of(cls, name: str, lm: FrozenModel, template: str, chat: bool = False) -> AnswerTemplate:
        """Read a template.

        Args:
            name: of the term, for messages.
            lm: the model that reads.
            template: a text with {prompt} and [Y], once each, and [X] at most once.
            chat: whether all that stands before [Y] is one message of a user, written by the model's chat template.

        Raises:
            UsageError: a mark that is missing or repeated, a mark that the model would not have read before it answers,
                or a tokenizer without a chat template.
        """
        key = f"objective.{name}.template"
        once = template.count(PROMPT) == 1 and template.count(ANSWER) == 1 and template.count(SUBJECT) <= 1
        require(
            once, key, template, f"a text with {PROMPT} and {ANSWER} once each, and {SUBJECT} at most once"
        )
        last = max(template.find(PROMPT), template.find(SUBJECT))
        if (chat or not isinstance(lm, MaskedLM)) and last > template.index(ANSWER):
            raise UsageError(
                f"{key}={template!r} has {ANSWER} before {PROMPT} or {SUBJECT}, but {lm.name} reads nothing behind an "
                f"answer: put {ANSWER} last"
            )
        if chat:
            template = _chatting(name, lm, template[: template.index(ANSWER)]) + ANSWER
        marks = sorted((PROMPT, ANSWER), key=template.index)
        before, rest = template.split(marks[0])
        between, behind = rest.split(marks[1])
        spaced = before.endswith(" "), between.endswith(" ")
        pieces = before[: len(before) - spaced[0]], between[: len(between) - spaced[1]], behind
        return cls(pieces, spaced, marks[0] == PROMPT, chat)

    @property
    def has_text(self) -> bool:
        """Whether there is a place for the text of an example."""
        return any(SUBJECT in piece for piece in self.pieces)

    def encode(self, tokenizer: WordTokenizer, texts: Sequence[str]) -> list[Pieces]:
        """The tokens of the three pieces for every text, with special tokens around them that the chat has not."""
        around = ((), ()) if self.chat else (tokenizer.prefix_ids, tokenizer.suffix_ids)
        contexts = ("", CARRIER, CARRIER)
        columns = []
        for piece, context in zip(self.pieces, contexts, strict=True):
            filled = [piece.replace(SUBJECT, text) for text in texts]
            columns.append([tokens.ids for tokens in split_behind(tokenizer, context, filled)])
        return [
            ((*around[0], *before), between, (*behind, *around[1]))
            for before, between, behind in zip(*columns, strict=True)
        ]

    def split_prompts(self, tokenizer: WordTokenizer, prompts: Sequence[str]) -> list[Tokenized]:
        """The tokens and words of prompts in their place; " in" and "in" are the same behind a space."""
        return self._split(tokenizer, prompts, 0 if self.prompt_first else 1)

    def encode_answers(self, tokenizer: WordTokenizer, answers: Sequence[str]) -> list[Ids]:
        """The tokens of answers in their place."""
        place = 1 if self.prompt_first else 0
        return [tokens.ids for tokens in self._split(tokenizer, answers, place)]

    def _split(self, tokenizer: WordTokenizer, texts: Sequence[str], place: int) -> list[Tokenized]:
        """As they stand behind the first piece (place 0) or the second one (place 1)."""
        if self.spaced[place]:
            apart = [text.removeprefix(" ") for text in texts]
            return split_behind(tokenizer, CARRIER, [f" {text}" if text else "" for text in apart])
        before = self.pieces[place]
        return split_behind(tokenizer, ending(before) if before or place == 0 else CARRIER, texts)


def _chatting(name: str, lm: FrozenModel, text: str) -> str:
    """A message of a user as the model's chat template writes it, up to where the answer begins."""
    tokenizer = lm.tokenizer.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            f"objective.{name}.chat=true, but the tokenizer of {lm.name} has no chat template: take a model that was "
            "trained to chat, or set chat=false"
        )
    message = [{"role": "user", "content": text.strip()}]
    written: str = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    return written
