"""Every token of one model as another model would write it after a word of running text."""

from collections.abc import Sequence

from fuse_repro.alignment.words import WordTokenizer

LEAD = "the"  # the word that a token is put after: one that tokenizers keep whole


def token_texts(tokenizer: WordTokenizer, ids: Sequence[int]) -> list[str]:
    """What every token adds to a text that goes on, its leading space included."""
    (lead,) = tokenizer.encode([LEAD])
    (before,) = tokenizer.decode([lead])
    texts = tokenizer.decode([[*lead, token] for token in ids])
    return [text[len(before) :] if text.startswith(before) else text for text in texts]


def starts_word(text: str) -> bool:
    """Whether a token with this text begins a new word; otherwise it joins the last one."""
    return text[:1].isspace()


def token_pieces(source: WordTokenizer, target: WordTokenizer, ids: Sequence[int]) -> list[tuple[int, ...]]:
    """The target's tokens of what every source token adds to a text; () where it adds nothing readable.

    A token that starts a word is written as that word; one that joins the last word as its continuation
    ("##ing"), or on its own where the two melt into one piece.
    """
    texts = token_texts(source, ids)
    (lead,) = target.encode([LEAD])
    pieces: list[tuple[int, ...]] = []
    for text, written in zip(texts, target.encode([LEAD + text for text in texts]), strict=True):
        if not text.strip() or "\ufffd" in text:
            pieces.append(())
        elif written[: len(lead)] == lead:
            pieces.append(tuple(written[len(lead) :]))
        else:
            pieces.append(tuple(target.encode([text])[0]))
    return pieces
