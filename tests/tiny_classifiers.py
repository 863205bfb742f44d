"""Tiny random text classifiers of each architecture, and a head on the tiny encoder."""

import torch
from tiny_models import PADDED_ROWS, tiny_bert_encoder
from tiny_tokenizers import metaspace_unigram, wordpiece

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.models.classifier import EmbeddingClassifier, SequenceClassifier
from fuse_repro.models.head_fitting import two_layers

LABELS = ("negative", "neutral", "positive")
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,  # with the usual 0.02 all texts get nearly the same logits
}


def tiny_roberta_classifier(seed: int = 0) -> SequenceClassifier:
    """RoBERTa: positions begin after the padding index; `<s> ... </s>`; at most 62 tokens."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    tokenizer = WordTokenizer(metaspace_unigram())
    config = RobertaConfig(
        vocab_size=tokenizer.vocab_size + PADDED_ROWS,
        max_position_embeddings=64,
        pad_token_id=1,
        num_labels=3,
        **SIZES,
    )
    return _classifier(RobertaForSequenceClassification, config, tokenizer, "tiny_roberta", seed)


def tiny_bert_classifier(seed: int = 0) -> SequenceClassifier:
    """BERT with its pooler; WordPiece."""
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = WordTokenizer(wordpiece())
    config = BertConfig(
        vocab_size=tokenizer.vocab_size + PADDED_ROWS, max_position_embeddings=64, num_labels=3, **SIZES
    )
    return _classifier(BertForSequenceClassification, config, tokenizer, "tiny_bert", seed)


def tiny_head(seed: int = 0) -> EmbeddingClassifier:
    """A small head on the tiny BERT encoder."""
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(8, 32, generator=generator), torch.randn(8, generator=generator)
    out, last_bias = torch.randn(3, 8, generator=generator), torch.randn(3, generator=generator)
    head = two_layers(weight, bias, out, last_bias)
    return EmbeddingClassifier(tiny_bert_encoder(seed), head, LABELS, name="tiny_head")


def _classifier(
    model_class: type, config: object, tokenizer: WordTokenizer, name: str, seed: int
) -> SequenceClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SequenceClassifier(model_class(config), tokenizer, LABELS, name=name)
