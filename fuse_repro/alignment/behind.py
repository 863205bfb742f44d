"""The tokens of a text that stands behind another one."""

from collections.abc import Sequence

from fuse_repro.alignment.last_words import last_words
from fuse_repro.alignment.words import CARRIER, Tokenized, WordTokenizer

NOTHING = Tokenized((), (), ())


def ending(text: str) -> str:
    """A short text in place of a long one: whatever stands behind either has the same tokens.

    It is the carrier, a word of its own, with the white space that the text ends in; a text that ends in another
    character keeps its last word. Nothing stands for nothing.
    """
    if not text:
        return ""
    words = text.rstrip()
    return CARRIER + text[len(words) :] if len(words) < len(text) else text.split()[-1]


def split_behind(tokenizer: WordTokenizer, context: str, texts: Sequence[str]) -> list[Tokenized]:
    """As `WordTokenizer.split`, but every text as it stands behind `context`, whose tokens are left out.

    A token belongs where it begins. With the tokens of the context in front, these are the tokens of the joined text
    wherever a text may be cut there; see fuse_repro.alignment.word_ends.

    Raises:
        UsageError: not a sequence of texts that can be encoded as UTF-8.
    """
    if not context:
        return last_words(tokenizer).split(texts)
    (lead,) = tokenizer.encode([context])
    found = []
    for text, whole in zip(
        texts, last_words(tokenizer).split([context + text for text in texts]), strict=True
    ):
        if not text:
            found.append(NOTHING)
            continue
        clean = list(whole.ids[: len(lead)]) == lead
        begin = len(lead) if clean else len(tokenizer.encode_parts([context, text])[0])
        apart = context[-1].isspace() or text[0].isspace()
        found.append(_later(whole, begin, len(context.split()) - (not apart), text))
    return found


def _later(whole: Tokenized, begin: int, words: int, text: str) -> Tokenized:
    """What is left of a text without its first tokens and words: the tokens and words of `text`."""
    ids = whole.ids[begin:]
    if len(whole.words) <= words:  # white space alone
        return Tokenized(ids, ("",), ((0, len(ids)),)) if ids else NOTHING
    spans = tuple((max(a - begin, 0), max(b - begin, 0)) for a, b in whole.spans[words:])
    return Tokenized(ids, tuple(text.split()), ((0, spans[0][1]), *spans[1:]))
