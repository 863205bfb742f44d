"""How surprised a language model is by the answers of examples, given their texts and a written prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.data.prompt_task import Item
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.objectives.answer_alignment import align_within
from fuse_repro.objectives.answer_examples import AnswerExamples, prepare
from fuse_repro.objectives.answer_passes import Prompts, log_probs, read_answers
from fuse_repro.objectives.answer_sharing import always_state, can_share, shared_rows, whole_rows
from fuse_repro.objectives.answer_template import AnswerTemplate, Ids
from fuse_repro.objectives.answers import CANDIDATES, Candidates
from fuse_repro.objectives.prompt_batch import PromptBatch


class AnswerTerm(nn.Module):
    r"""Mean negative log-likelihood of the answers of examples, in nats per answer token, for every prompt of a batch.

    With text x_e, answer y_e of k_e tokens and prompt p, the term is 1/E \sum_e 1/k_e \sum_i -log p(y_ei | x_e, p, y_e1
    ... y_e(i-1)), a mean over examples of means over tokens. A masked model sees k_e mask tokens at once and fills each
    by itself. One example without a text is a fixed target (GCG, arXiv 2307.15043).

    The examples are the batch's `targets[name]`, as `target` prepares them. A prompt is text: every model reads the
    template with the prompt in its place, by its own tokenizer. Where a space stands before the prompt, " in" and "in"
    are the same. If the batch has the primary model's embeddings, the loss has a gradient through the adapter; the
    primary model's own term has the identity for one.

    The joined tokens are those of the joined text where a space or a line break stands before the prompt, behind it and
    before the answer. Elsewhere ("{prompt}: [Y]"), a tokenizer may join the last characters of a prompt with what
    follows; the term reads the parts as they are.

    Args:
        name: of the term, for messages and targets.
        encoder: the model that answers, a causal or a masked language model.
        adapter: from the primary model to it; needed where gradients are taken.
        template: where prompt, text and answer stand, with {prompt} and [Y], and [X] if the examples have texts.
        chat: whether the model's chat template writes all that stands before [Y] as one message of a user.
        candidates: what an answer competes with: the whole `vocabulary`, or the task's `answers` only, which have to be
            one token each. The latter is what accuracy is about.
        share: whether beginnings that rows have in common are read once. False is slower, and gives the same.

    Raises:
        UsageError: a model that is no language model, a template that it cannot read, or other candidates.
    """

    def __init__(
        self,
        name: str,
        encoder: FrozenModel,
        adapter: EmbeddingMap | None = None,
        template: str = "[X] {prompt} [Y]",
        chat: bool = False,
        candidates: Candidates = "vocabulary",
        share: bool = True,
    ) -> None:
        super().__init__()
        known = f"one of {', '.join(CANDIDATES)}"
        require(candidates in CANDIDATES, f"objective.{name}.candidates", candidates, known)
        answers = isinstance(encoder, CausalLM | MaskedLM)
        require(answers, f"objective.{name}.model", encoder.name, "a causal or masked language model")
        self.name, self.candidates, self.share = name, candidates, share
        self.adapter = adapter
        self.template = AnswerTemplate.of(name, encoder, template, chat)
        self._lm = (cast(CausalLM | MaskedLM, encoder),)

    @property
    def lm(self) -> CausalLM | MaskedLM:
        return self._lm[0]

    def target(self, examples: Sequence[Item], answers: Sequence[str] | None = None) -> AnswerExamples:
        """Examples made ready for this term's model: what stands before the prompt is read here, once.

        Args:
            examples: texts and their answers; of several right answers the first one counts.
            answers: of the task, which compete if `candidates` is `answers`; None for those of the examples.

        Raises:
            UsageError: no examples, a text without a place in the template or a place without a text, an answer that
                the model cannot write, or examples that are too long for it.
        """
        among = None
        if self.candidates == "answers":
            among = list(dict.fromkeys(answers or [example.answer for example in examples]))
        return prepare(self.name, self.lm, self.template, examples, among)

    def forward(self, batch: PromptBatch) -> Tensor:
        """[B] nats per answer token.

        Raises:
            UsageError: no target, a text that is too long for the model with a prompt, or nothing before an answer.
        """
        examples = batch.targets.get(self.name)
        if not isinstance(examples, AnswerExamples):
            raise UsageError(
                f"the term {self.name!r} has no examples: give term.target(examples) in batch.targets"
            )
        if batch.embeddings is None:
            prompts = [tokens.ids for tokens in self.template.split_prompts(self.lm.tokenizer, batch.texts)]
            return self._values(examples, prompts)
        embeddings, alignment = batch.carried(
            self.adapter, self.name, lambda adapter: align_within(batch, adapter, self.template)
        )
        return self._differentiable(examples, embeddings, alignment)

    @torch.no_grad()
    def choices(self, prompt: str, examples: AnswerExamples) -> Tensor:
        """Log-probabilities [E, A] of the answers that compete, in nats, by one prompt; only with `candidates=answers`.

        Raises:
            UsageError: a text that is too long for the model with the prompt, or nothing before an answer.
        """
        assert examples.candidates is not None
        prompts = [tokens.ids for tokens in self.template.split_prompts(self.lm.tokenizer, [prompt])]
        self._check(examples, prompts)
        memory = examples.memory if self.share and always_state(examples, prompts) else None
        rows = whole_rows(self.lm, examples, prompts, self.template.prompt_first, memory is not None)
        return read_answers(self.lm, rows, memory, examples.candidates, of=log_probs)

    @torch.no_grad()
    def _values(self, examples: AnswerExamples, prompts: Sequence[Ids]) -> Tensor:
        """[B], without gradients."""
        self._check(examples, prompts)
        lm = self.lm
        if not (self.share and isinstance(lm, CausalLM) and can_share(lm, examples, prompts)):
            return self._whole(examples, prompts)
        means = []
        order: list[int] = []
        for numbers, rows, memory in shared_rows(lm, examples, prompts):
            values = read_answers(lm, rows, memory, examples.candidates)
            means.append(values.view(len(numbers), -1).mean(1))
            order += numbers
        return torch.cat(means)[torch.tensor(order).argsort().to(lm.device)]

    def _differentiable(self, examples: AnswerExamples, embeddings: Tensor, alignment: Alignment) -> Tensor:
        """[B], differentiable by the embeddings [B, S, d] of the tokens of an alignment."""
        counts = alignment.target_mask.sum(1).tolist()
        ids = alignment.target_ids.tolist()
        prompts = [tuple(row[:count]) for row, count in zip(ids, counts, strict=True)]
        self._check(examples, prompts)
        return self._whole(examples, prompts, Prompts(embeddings, counts))

    def _whole(
        self, examples: AnswerExamples, prompts: Sequence[Ids], given: Prompts | None = None
    ) -> Tensor:
        """[B], every prompt read with every example; what stands before the prompts is known if `share` allows it."""
        memory = examples.memory if self.share and always_state(examples, prompts) else None
        rows = whole_rows(self.lm, examples, prompts, self.template.prompt_first, memory is not None)
        values = read_answers(self.lm, rows, memory, examples.candidates, given)
        return values.view(len(prompts), -1).mean(1)

    def _check(self, examples: AnswerExamples, prompts: Sequence[Ids]) -> None:
        """Raises UsageError for prompts that the model cannot read with the examples."""
        examples.check_length(self.name, self.lm, max(map(len, prompts), default=0))
        first = any(not before and not between for before, between, _ in examples.pieces)
        if first and isinstance(self.lm, CausalLM) and not all(prompts):
            raise UsageError(
                f"{self.lm.name} cannot answer an empty prompt with nothing before it: give a prompt of at least one "
                f"token, or more text in objective.{self.name}.template"
            )
