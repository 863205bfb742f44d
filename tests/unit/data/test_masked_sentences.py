"""What masked training reads: answers apart, only real tokens hidden, every statement in turn."""

import torch

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.data.masked_sentences import IGNORED, Items, batches, encode, hide
from fuse_repro.data.mini_corpus import Statement
from fuse_repro.models.mini_tokenizer import count_words, make_tokenizer

STATEMENTS = (
    Statement("The capital of Peru is", "Lima", "."),
    Statement("", "Paris", "is the capital of France ."),
    Statement("Peru and Japan are far from France .", "", ""),
)


def made() -> tuple[Items, WordTokenizer]:
    counts = count_words(statement.text for statement in STATEMENTS)
    tokenizer = make_tokenizer("unigram", counts, ("Lima", "Paris"), 4, 10)
    words = WordTokenizer(tokenizer)
    return encode(words, tokenizer.mask_token_id, STATEMENTS), words


def test_an_answer_is_tokenized_as_in_a_prompt() -> None:
    items, words = made()
    for row, word in enumerate(("Lima", "Paris")):
        assert items.ids[row][items.answers[row]].tolist() == list(words.word_ids([word])[0])
    length = int(items.lengths[0])
    assert tuple(items.ids[0, :1].tolist()) == words.prefix_ids
    assert tuple(items.ids[0, length - 1 : length].tolist()) == words.suffix_ids
    assert not items.answers[2].any()


def test_only_real_tokens_are_hidden_and_the_answer_most_of_all() -> None:
    items, _ = made()
    numbers = torch.arange(3).repeat(400)
    ids, labels, mask = hide(items, numbers, torch.Generator().manual_seed(0))
    hidden = labels != IGNORED
    assert (ids[hidden] == items.mask_id).all()
    assert torch.equal(torch.where(hidden, labels, ids), items.ids[numbers])
    assert torch.equal(mask.sum(dim=1), items.lengths[numbers])
    assert not hidden[~mask].any()
    assert not hidden[:, 0].any()
    assert not hidden[torch.arange(len(ids)), items.lengths[numbers] - 1].any()
    assert hidden.any(dim=1).all()
    stated = items.answers[numbers].any(dim=1)
    alone = (hidden == items.answers[numbers]).all(dim=1)[stated].float().mean()
    assert 0.76 < alone < 0.9


def test_a_row_does_not_depend_on_the_padding_of_its_batch() -> None:
    items, _ = made()
    short = torch.tensor([int(items.lengths.argmin())])
    ids, _, mask = hide(items, short, torch.Generator().manual_seed(0))
    assert ids.shape[1] == int(items.lengths.min())
    assert mask.all()


def test_every_statement_comes_in_turn_and_the_seed_decides_when() -> None:
    lengths = torch.randint(3, 20, (101,), generator=torch.Generator().manual_seed(0))
    one, other = (list(batches(lengths, 4, 60, torch.Generator().manual_seed(5))) for _ in range(2))
    assert len(one) >= 60
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    epoch = one[:26]
    assert sorted(torch.cat(epoch).tolist()) == list(range(101))
    assert max(map(len, one)) == 4
    spread = [int(lengths[batch].max() - lengths[batch].min()) for batch in epoch]
    assert sum(spread) / len(spread) < 6
