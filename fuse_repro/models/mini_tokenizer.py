"""Tokenizers of mini language models, made from word counts alone.

The trainers of the `tokenizers` library walk through randomly seeded hash maps, so that two processes get two
vocabularies; here equal counts give equal tokenizers. Both kinds write a word of their vocabulary as one
token and any other word with as few pieces as they can.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from fuse_repro.errors import require

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECE_LENGTHS = (2, 3, 4)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word, split as the tokenizers do, stands in the texts."""
    splitter = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in splitter.pre_tokenize_str(text))
    return counts


def make_tokenizer(
    kind: str, counts: Mapping[str, int], whole: Sequence[str], words: int, pieces: int
) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary holds whole words, pieces and letters.

    Args:
        kind: `wordpiece` (BERT like) or `unigram` (SentencePiece like, a leading `▁`).
        counts: word -> how often it stands in the corpus.
        whole: words that are one token in any case.
        words: how many words are one token, the most frequent ones after `whole`.
        pieces: how many pieces of two to four letters, the most frequent ones in words that are not whole.

    Raises:
        UsageError: an unknown kind.
    """
    require(kind in KINDS, "tokenizer", kind, f"one of {', '.join(KINDS)}")
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = list(dict.fromkeys([*whole, *ranked]))[: max(words, len(whole))]
    kept = set(vocabulary)
    found = Counter(
        word[begin : begin + length]
        for word in ranked
        if word not in kept
        for length in PIECE_LENGTHS
        for begin in range(len(word) - length + 1)
    )
    frequent = sorted(found, key=lambda piece: (-found[piece], piece))[:pieces]
    letters = sorted({letter for word in (*ranked, *whole) for letter in word})
    return KINDS[kind](vocabulary, frequent, letters)


def _wordpiece(
    words: Sequence[str], pieces: Sequence[str], letters: Sequence[str]
) -> PreTrainedTokenizerFast:
    parts = [part for piece in (*letters, *pieces) for part in (piece, f"##{piece}")]
    tokens = dict.fromkeys([*SPECIAL, *words, *parts])
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    return _finish(backend)


def _unigram(words: Sequence[str], pieces: Sequence[str], letters: Sequence[str]) -> PreTrainedTokenizerFast:
    """Every piece costs the same, so the fewest win."""
    parts = [part for piece in (*letters, *pieces) for part in (f"▁{piece}", piece)]
    tokens = dict.fromkeys(["▁", *(f"▁{word}" for word in words), *parts])
    scored = [*((token, 0.0) for token in SPECIAL), *((token, -1.0) for token in tokens)]
    backend = Tokenizer(models.Unigram(scored, unk_id=SPECIAL.index("[UNK]")))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return _finish(backend)


KINDS: dict[str, Callable[[Sequence[str], Sequence[str], Sequence[str]], PreTrainedTokenizerFast]] = {
    "wordpiece": _wordpiece,
    "unigram": _unigram,
}


def _finish(backend: Tokenizer) -> PreTrainedTokenizerFast:
    """`[CLS] ... [SEP]` around a text."""
    ends = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=ends
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token")
    special = dict(zip(names, SPECIAL[:4], strict=True))
    mask = AddedToken("[MASK]", lstrip=True, special=True)
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token=mask, **special)
