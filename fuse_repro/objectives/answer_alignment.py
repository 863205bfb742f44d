"""The words of prompts in two models, where one of them reads the prompts within a template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.identity import IdentityMap
from fuse_repro.alignment.pairs import Alignment, WordPair, align
from fuse_repro.alignment.words import Tokenized
from fuse_repro.objectives.answer_template import AnswerTemplate
from fuse_repro.objectives.prompt_batch import PromptBatch


def align_within(batch: PromptBatch, adapter: EmbeddingMap, template: AnswerTemplate) -> Alignment:
    """The words of a batch's texts as the primary model wrote them, and as the target reads them in the template.

    Where both have one tokenizer, tokens are paired one by one in every text that has as many on both sides.
    """
    tokenizer, slot = adapter.target.tokenizer, batch.slot
    texts = batch.texts if slot is None else slot.texts(tokenizer)
    source = adapter.source.tokenizer.split(texts) if slot is None else slot.tokens
    target = template.split_prompts(tokenizer, texts)
    alignment = align(source, target, adapter.target.device)
    if adapter.shared_tokenizer:
        whole = isinstance(adapter, IdentityMap)
        alignment = replace(alignment, words=tuple(_token_pairs(source, target, alignment.words, whole)))
    return alignment if slot is None else slot.filled(alignment, adapter.target)


def _token_pairs(
    source: Sequence[Tokenized], target: Sequence[Tokenized], words: Sequence[WordPair], whole: bool
) -> list[WordPair]:
    """One pair for every token; in texts of unequal numbers, by words.

    Args:
        source: the texts as written.
        target: the texts as read.
        words: their words.
        whole: whether words of several tokens may be pairs; else their first tokens are paired.
    """
    even = [len(s.ids) == len(t.ids) for s, t in zip(source, target, strict=True)]
    pairs = [
        WordPair(row, i, i + 1, i, i + 1)
        for row, text in enumerate(source)
        if even[row]
        for i in range(len(text.ids))
    ]
    for word in words:
        if even[word.row]:
            continue
        if whole:
            pairs.append(word)
            continue
        for step in range(min(word.source_count, word.target_count)):
            s, t = word.source_start + step, word.target_start + step
            pairs.append(WordPair(word.row, s, s + 1, t, t + 1))
    return pairs
