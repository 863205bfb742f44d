"""Small real tokenizers of every kind, made in milliseconds: `from tiny_tokenizers import wordpiece`.

Each builder returns a fresh object, so a test may change it; equal calls give equal vocabularies in every
process. (The trainers of the `tokenizers` library do not: they walk through randomly seeded hash maps.)
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

SENTENCES = (
    "An image of a cat sitting on a wooden table next to a cup of coffee.",
    "A baseball player swings his bat at the ball while the crowd watches.",
    "Two children are playing with a yellow kite on the beach at sunset.",
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind.",
    "A man riding a wave on top of a surfboard in the ocean.",
    "The capital of France is Paris; the capital of Japan is Tokyo.",
    "A plate of pasta with tomatoes, cheese and a glass of red wine.",
    "An astronaut in a white suit stands in front of a rocket.",
    "This movie was a great, moving and beautiful piece of work!",
    "What a terrible, boring waste of time: I want my 12 dollars back.",
    "In 1984 about 365 people lived in the small village by the river.",
    "A train travels down the tracks past a station in the evening light.",
    "She wears a black dress with 90 small zebra stripes and a zigzag hem.",
    "The old bridge crosses a frozen lake below the mountains.",
    "A group of giraffes standing next to each other under tall trees.",
    "Where does the story begin, and who will tell it to us?",
)


BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
Merge = tuple[str, str]


def byte_level_bpe(merges: int = 150, trim_offsets: bool = False) -> PreTrainedTokenizerFast:
    """GPT-2 like: a leading space belongs to the token; nothing is put around a text; no mask token."""
    learned = _byte_level_merges(merges)
    backend = Tokenizer(models.BPE(_vocabulary(["<|endoftext|>", "<|pad|>"], BYTES, learned), list(learned)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    backend.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=end, eos_token=end, pad_token="<|pad|>"
    )


def wordpiece(merges: int = 200) -> PreTrainedTokenizerFast:
    """BERT like: lower-cased, accents stripped, `##` continues a word, `[CLS] ... [SEP]`."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = _letters(sentence.lower() for sentence in SENTENCES)
    alphabet = [*letters, *(f"##{letter}" for letter in letters)]
    backend = Tokenizer(
        models.WordPiece(_vocabulary(special, alphabet, _wordpiece_merges(merges)), unk_token="[UNK]")
    )
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=True)
    _surround(backend, "[CLS]", "[SEP]")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )


def metaspace_unigram(merges: int = 200) -> PreTrainedTokenizerFast:
    """XLM-R and T5 like: NFKC, spaces squashed, a leading `▁`, no bytes to fall back to, `<s> ... </s>`."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    text = " ".join(SENTENCES).replace(" ", "▁")
    pieces = [*_letters([*SENTENCES, "▁"]), *("".join(pair) for pair in _metaspace_merges(merges))]
    scored = [(piece, math.log(max(text.count(piece), 1) / len(text))) for piece in dict.fromkeys(pieces)]
    backend = Tokenizer(models.Unigram([(token, 0.0) for token in special] + scored, unk_id=3))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    _surround(backend, "<s>", "</s>")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        mask_token=AddedToken("<mask>", lstrip=True),
    )


def metaspace_bpe(merges: int = 200) -> PreTrainedTokenizerFast:
    """Gemma like: spaces become `▁`, none in front; no pre-tokenizer; falls back to bytes; `<bos> ...`."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    alphabet = [*(f"<0x{byte:02X}>" for byte in range(256)), *_letters([*SENTENCES, "▁"])]
    learned = _metaspace_merges(merges)
    vocabulary = _vocabulary(special, alphabet, learned)
    backend = Tokenizer(
        models.BPE(vocabulary, list(learned), unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    _surround(backend, "<bos>")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
    )


def clip_bpe(merges: int = 150) -> CLIPTokenizer:
    """CLIP: lower-cased byte-level BPE whose words end in `</w>`; 514 + `merges` tokens."""
    learned = _clip_merges(merges)
    alphabet = [*BYTES, *(f"{byte}</w>" for byte in BYTES)]
    vocabulary = _vocabulary([], alphabet, learned)
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[token] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=list(learned))


@lru_cache
def _byte_level_merges(count: int) -> tuple[Merge, ...]:
    return _learn((f"Ġ{word}" for word in _words()), count, list)


@lru_cache
def _wordpiece_merges(count: int) -> tuple[Merge, ...]:
    def pieces(word: str) -> list[str]:
        return [word[0], *(f"##{letter}" for letter in word[1:])]

    return _learn((word.lower() for word in _words()), count, pieces)


@lru_cache
def _metaspace_merges(count: int) -> tuple[Merge, ...]:
    return _learn((f"▁{word}" for word in _words()), count, list)


@lru_cache
def _clip_merges(count: int) -> tuple[Merge, ...]:
    return _learn((word.lower() for word in _words()), count, lambda word: [*word[:-1], f"{word[-1]}</w>"])


def _words() -> list[str]:
    return re.findall(r"[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]+", " ".join(SENTENCES))


def _letters(texts: Iterable[str]) -> list[str]:
    return sorted(set("".join(texts)) - {" "})


def _learn(words: Iterable[str], count: int, pieces: Callable[[str], list[str]]) -> tuple[Merge, ...]:
    """Byte-pair encoding: the most frequent pair is joined, `count` times; ties go to the later pair."""
    corpus = {word: (pieces(word), times) for word, times in Counter(words).items()}
    learned: list[Merge] = []
    while len(learned) < count:
        pairs: Counter[Merge] = Counter()
        for symbols, times in corpus.values():
            for pair in pairwise(symbols):
                pairs[pair] += times
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        learned.append(best)
        for symbols, _ in corpus.values():
            for place in range(len(symbols) - 2, -1, -1):
                if tuple(symbols[place : place + 2]) == best:
                    symbols[place : place + 2] = [_join(best)]
    return tuple(learned)


def _join(pair: Merge) -> str:
    return pair[0] + pair[1].removeprefix("##")


def _vocabulary(special: list[str], alphabet: list[str], merges: Iterable[Merge]) -> dict[str, int]:
    tokens = dict.fromkeys([*special, *alphabet, *(_join(pair) for pair in merges)])
    return {token: index for index, token in enumerate(tokens)}


def _surround(backend: Tokenizer, before: str, after: str = "") -> None:
    """Put these special tokens around a single text."""
    special = [token for token in (before, after) if token]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{before} $A {after}".strip(),
        pair=None,
        special_tokens=[(token, backend.token_to_id(token)) for token in special],
    )
