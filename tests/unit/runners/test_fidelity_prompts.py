"""Prompts cut from captions and from running text."""

from pathlib import Path

import pytest
from tiny_models import tiny_gpt2

from fuse_repro.data.images import ImageItem
from fuse_repro.errors import UsageError
from fuse_repro.runners.fidelity.prompts import Sentence, caption_sentences, choose, cut, text_sentences

SENTENCE = Sentence("s1", "captions", ("a", "cat", "on", "a", "table"), "A cat on a table.")


def test_captions_of_enough_words_and_another_of_the_same_photograph() -> None:
    items = [
        ImageItem("one", Path("1.png"), ("A cat.", "A black cat sits here.", "Cats.")),
        ImageItem("short", Path("2.png"), ("A cat.", "Cats.")),
        ImageItem("single", Path("3.png"), ("A black cat sits here.",)),
    ]
    (found,) = caption_sentences(items, 5)
    assert found == Sentence(
        "one", "captions", ("a", "black", "cat", "sits", "here"), "A cat.", Path("1.png")
    )


def test_sentences_of_wikitext(tmp_path: Path) -> None:
    file = tmp_path / "wiki.txt"
    kept = "The lobster 's claws , which are large , are used for crushing prey"
    file.write_text(
        f" = Lobsters = \n\n {kept} . Too short . It has <unk> in it and so it is not taken at all . \n"
    )
    (found,) = text_sentences(file, 10)
    assert found.target_text == "The lobster's claws, which are large, are used for crushing prey"
    assert found.words[:3] == ("the", "lobster's", "claws,")
    with pytest.raises(UsageError, match=r"runner\.texts.*UTF-8"):
        list(text_sentences(tmp_path / "none.txt", 10))


def test_dev_and_test_share_nothing() -> None:
    sentences = [Sentence(str(i), "text", (), "") for i in range(20)]
    dev, test = (choose(iter(sentences), split, 100) for split in ("dev", "test"))
    assert not {s.source for s in dev} & {s.source for s in test}
    assert len(dev) + len(test) == 20
    assert [s.source for s in choose(iter(sentences), "all", 2, stride=7)] == ["0", "7"]
    with pytest.raises(UsageError, match=r"runner\.split='train'.*dev, test, all"):
        choose(iter(sentences), "train", 1)


def test_the_next_token_of_a_prompt() -> None:
    tokenizer = tiny_gpt2().tokenizer
    prompt = cut(SENTENCE, "next", 3, "An image of", tokenizer)
    assert (prompt.before, prompt.after, prompt.length) == ("An image of a cat on", "", 3)
    assert cut(SENTENCE, "next", 0, "An image of", tokenizer).before == "An image of"


def test_a_word_inside_a_prompt_is_one_token_of_the_model() -> None:
    tokenizer = tiny_gpt2().tokenizer
    prompt = cut(SENTENCE, "inside", 5, "An image of", tokenizer)
    words = ("An image of " + " ".join(SENTENCE.words)).split()
    place = len(prompt.before.split())
    assert place >= 3
    assert [*prompt.before.split(), words[place], *prompt.after.split()] == words
    (tokens,) = tokenizer.split([" ".join(words)])
    start, stop = tokens.spans[place]
    assert stop - start == 1
    assert cut(SENTENCE, "inside", 0, "An image of", tokenizer) is None
    with pytest.raises(UsageError, match=r"runner\.places='outside'"):
        cut(SENTENCE, "outside", 5, "An image of", tokenizer)
