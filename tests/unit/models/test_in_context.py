"""The embedding of a text with one more word, estimated as fits the encoder's pooling."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from tiny_classifiers import tiny_head, tiny_roberta_classifier
from tiny_models import tiny_bert_encoder, tiny_clip, tiny_conse, tiny_gpt2, tiny_siglip
from tiny_tokenizers import SENTENCES
from torch.nn.functional import normalize

from fuse_repro.metrics.fidelity import spearman
from fuse_repro.models.in_context import contributions, cosines_with_each_word, with_each_word
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.objectives import PromptBatch, TextMatchTerm

WORDS = sorted({word.strip(".") for text in SENTENCES for word in text.split()})
PROMPTS = ["An image of", "An image of a dog", "A train"]


def tiny_cls() -> TextEncoder:
    return tiny_bert_encoder(pooling="cls")


@pytest.mark.parametrize(
    ("make", "pooling", "one"),
    [
        (tiny_bert_encoder, "mean", False),
        (tiny_conse, "mean", False),
        (tiny_head, "mean", False),
        (tiny_cls, "cls", True),
        (tiny_clip, "last", True),
        (tiny_siglip, "last", True),
        (tiny_roberta_classifier, "head", False),
    ],
)
def test_encoders_say_how_they_pool(make: Callable[[], TextEncoder], pooling: str, one: bool) -> None:
    encoder = make()
    assert (encoder.pooling, encoder.reads_one_token) == (pooling, one)
    assert encoder.signature["pooling"] == pooling


@pytest.mark.parametrize("make", [tiny_bert_encoder, tiny_cls, tiny_clip, tiny_siglip])
def test_estimates_in_context_follow_the_pooling(make: Callable[[], TextEncoder]) -> None:
    encoder, lm = make(), tiny_gpt2()
    term = TextMatchTerm("text", encoder)
    targets = {"text": term.target(SENTENCES[0])}
    (ids,) = lm.tokenizer.encode([" cat dog train"])
    words = [lm.tokenizer.decode([[token]])[0].strip() for token in ids]
    table = term.word_table(lm, ids=ids)
    alone = encoder.encode(words)
    brought = alone
    if encoder.reads_one_token:
        brought = encoder.encode([f"a {word}" for word in words]) - encoder.encode(["a"])
    torch.testing.assert_close(table.embeddings, alone)
    torch.testing.assert_close(table.contributions, brought)
    found = term.word_estimates(PromptBatch(PROMPTS, targets), table, context=True)
    around = len(encoder.tokenizer.prefix_ids) + len(encoder.tokenizer.suffix_ids)
    for row, prompt in enumerate(PROMPTS):
        length = len(encoder.tokenizer.encode([prompt])[0]) + around
        joined = normalize(length * encoder.encode([prompt]) + 2 * brought, dim=1)
        torch.testing.assert_close(found[row], 1 - joined @ targets["text"])


@pytest.mark.parametrize("seed", [0, 1])
def test_words_after_an_article_rank_better_where_texts_have_much_in_common(seed: int) -> None:
    """A SigLIP reads one position among forty; adding E(word) would add what all texts share once more."""
    encoder = tiny_siglip(seed)
    alone, brought = encoder.encode(WORDS), contributions(encoder, WORDS)
    gains = []
    for prompt, other in pairwise(SENTENCES[:9]):
        start = " ".join(["An image of", *prompt.split()[:2]])
        (target,) = encoder.encode([other])
        truth = 1 - encoder.encode([f"{start} {word}" for word in WORDS]) @ target
        own, after = (
            spearman(1 - next(with_each_word(encoder, [start], part)) @ target, truth)
            for part in (alone, brought)
        )
        gains.append(after - own)
    assert sum(gains) / len(gains) > 0.1


@pytest.mark.parametrize("make", [tiny_bert_encoder, tiny_cls, tiny_clip, tiny_siglip])
@pytest.mark.parametrize("half", [False, True])
def test_cosines_by_products_are_those_of_the_embeddings(make: Callable[[], TextEncoder], half: bool) -> None:
    """To 1e-6, for a whole beam, also with a table kept in half precision, whose rows are not of unit length."""
    encoder = make()
    words = contributions(encoder, WORDS) if encoder.reads_one_token else encoder.encode(WORDS)
    words = words.half().float() if half else words
    (target,) = encoder.encode([SENTENCES[0]])
    found = cosines_with_each_word(encoder, PROMPTS, words, words.square().sum(1), target)
    expected = torch.stack([rows @ target for rows in with_each_word(encoder, PROMPTS, words)])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
