"""Tokenizers of five kinds, trained on the words that a made-up model has read.

A word that stands in the text is one token wherever the kind allows it, since merging goes on until nothing is left
to merge; any other word of the same letters is written in pieces.
"""

import math
import string
from collections.abc import Callable, Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import require

UNKNOWN, PAD = "[UNK]", "[PAD]"
SPECIAL = [UNKNOWN, PAD]
LETTERS = list(string.ascii_lowercase)
EVERYTHING = 100_000  # tokens; more than any text here gives
OFTEN = 3  # times that every word stands in the text: trainers leave out what they see once


def train_tokenizer(kind: str, words: Sequence[str], most: int | None = None) -> WordTokenizer:
    """A tokenizer that has read these words.

    Args:
        kind: one of KINDS.
        words: of the letters a to z, in any order.
        most: tokens of its vocabulary, at most; None for as many as the text gives.

    Raises:
        UsageError: an unknown kind.
    """
    require(kind in KINDS, "tokenizer", kind, f"one of {', '.join(KINDS)}")
    backend = KINDS[kind]([" ".join(sorted(words))] * OFTEN, most or EVERYTHING)
    return WordTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=UNKNOWN, pad_token=PAD))


def _bpe(text: Sequence[str], most: int) -> Tokenizer:
    """Byte-pair encoding with a leading mark, as SentencePiece has it."""
    backend = Tokenizer(models.BPE(unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return _trained(backend, trainers.BpeTrainer, text, most, initial_alphabet=[*LETTERS, "▁"])


def _bytes(text: Sequence[str], most: int) -> Tokenizer:
    """Byte-pair encoding of bytes, as GPT-2 has it."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return _trained(backend, trainers.BpeTrainer, text, most, initial_alphabet=alphabet)


def _unigram(text: Sequence[str], most: int) -> Tokenizer:
    """A unigram model, as T5 has it.

    The trainer begins with what stands in several words, so that it never takes a whole word; those of the text are
    added. Its probabilities differ a little from process to process, and those of ties decide; so pieces are counted.
    """
    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    more = {"initial_alphabet": [*LETTERS, "▁"], "unk_token": UNKNOWN}
    trained = _trained(learner, trainers.UnigramTrainer, text, most, **more)
    words = sorted({f"▁{word}" for word in text[0].split()})
    joined = " ".join(words)
    pieces = set(trained.get_vocab()) - set(SPECIAL)
    scores = {piece: math.log(max(1, joined.count(piece)) / len(joined)) for piece in pieces}
    scores |= dict.fromkeys(words, -math.log(len(words)))
    vocabulary = [*((token, 0.0) for token in SPECIAL), *sorted(scores.items())]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index(UNKNOWN)))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return backend


def _wordpiece(text: Sequence[str], most: int) -> Tokenizer:
    """WordPiece, as BERT has it.

    The trainer numbers letters in the order of a hash map, which differs between processes and decides between equal
    counts. Letters that are given as special tokens are numbered as they are given.
    """
    marks = [mark for letter in LETTERS for mark in (letter, f"##{letter}")]
    learner = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=most, special_tokens=[*SPECIAL, *marks], show_progress=False
    )
    learner.train_from_iterator(text, trainer)
    return _pieces(learner.get_vocab())


def _characters(text: Sequence[str], most: int) -> Tokenizer:
    """One token a letter; the first letter of a word is another one than the same letter inside."""
    marks = [mark for letter in LETTERS for mark in (letter, f"##{letter}")]
    return _pieces({mark: index for index, mark in enumerate([*SPECIAL, *marks])})


def _pieces(vocabulary: dict[str, int]) -> Tokenizer:
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.WordPiece(cleanup=False)
    return backend


def _trained(backend: Tokenizer, trainer: type, text: Sequence[str], most: int, **more: object) -> Tokenizer:
    learner = trainer(vocab_size=most, special_tokens=SPECIAL, show_progress=False, **more)
    backend.train_from_iterator(text, learner)
    return backend


KINDS: dict[str, Callable[[Sequence[str], int], Tokenizer]] = {
    "bpe": _bpe,
    "wordpiece": _wordpiece,
    "unigram": _unigram,
    "bytes": _bytes,
    "characters": _characters,
}
