"""The vocabulary lookup against what it should be: the target's own embeddings of every token."""

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gemma3, tiny_gpt2

from fuse_repro.adapters import LookupMap
from fuse_repro.adapters.lookup import table_gib
from fuse_repro.alignment.token_pieces import starts_word, token_pieces, token_texts
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.objectives.word_table import word_table

Pair = tuple[FrozenModel, TextEncoder]


@pytest.fixture(scope="module", params=[tiny_gpt2, tiny_gemma3])
def pair(request: pytest.FixtureRequest) -> Pair:
    return request.param(), tiny_bert_encoder()


@pytest.fixture(scope="module")
def lookup(pair: Pair) -> LookupMap:
    return LookupMap.fit(*pair, ())


def test_a_token_is_what_the_target_writes_for_it(pair: Pair, lookup: LookupMap) -> None:
    source, target = pair
    for word in ("table", "dog"):
        token = source.tokenizer.encode([f"a {word}"])[0][-1]
        text = token_texts(source.tokenizer, [token])[0]
        (pieces,) = target.tokenizer.encode([text])
        if not starts_word(text):
            (whole,) = target.tokenizer.encode(["the" + text])
            pieces = whole[len(target.tokenizer.encode(["the"])[0]) :] or pieces
        expected = target.embed(torch.tensor(pieces)).mean(0)
        torch.testing.assert_close(lookup.rows(torch.tensor([token]))[0], expected, atol=1e-6, rtol=1e-5)


def test_pieces_of_new_words_and_of_continuations() -> None:
    source, target = tiny_gpt2().tokenizer, tiny_bert_encoder().tokenizer
    new, joined = (source.encode([text])[0][-1] for text in (" s", "s"))
    texts = token_texts(source, [new, joined])
    assert [starts_word(text) for text in texts] == [True, False]
    first, second = (target.decode([pieces])[0] for pieces in token_pieces(source, target, [new, joined]))
    assert (first, second) == ("s", "##s")


def test_scores_are_the_gradient_times_the_table(pair: Pair, lookup: LookupMap) -> None:
    source, target = pair
    text = "An image of a dog"
    alignment = lookup.align([text])
    gradient = torch.randn(1, alignment.target_ids.shape[1], target.embedding_size)
    (tokens,) = source.tokenizer.split([text])
    (other,) = target.tokenizer.split([text])
    begin, end = other.spans[2]
    position = tokens.spans[2][0]
    pulled = lookup.pull_token(gradient, alignment, position)
    single = tokens.spans[2][1] - position == 1
    expected = gradient[0, begin:end].sum(0) if single else gradient[0, begin]
    torch.testing.assert_close(pulled[0], expected)
    table = lookup.rows(torch.arange(source.tokenizer.vocab_size))
    torch.testing.assert_close(lookup.score_tokens(pulled)[0], table @ pulled[0], atol=1e-5, rtol=1e-5)


def test_every_target_token_of_a_word_is_given_to_some_source_token(lookup: LookupMap) -> None:
    """A word's pulled gradients add up to that of the whole word, where it has no more tokens in the source."""
    texts = ["wooden", "surfboard", "zigzag"]
    alignment = lookup.align(texts)
    gradient = torch.randn(3, alignment.target_ids.shape[1], lookup.target.embedding_size)
    for word in alignment.words:
        if word.source_count <= word.target_count:
            pulled = sum(
                lookup.pull_token(gradient, alignment, p)[word.row]
                for p in range(word.source_start, word.source_stop)
            )
            whole = gradient[word.row, word.target_start : word.target_stop].sum(0)
            torch.testing.assert_close(pulled, whole)


def test_the_linear_map_is_the_closest_one(pair: Pair) -> None:
    """No ridge: least squares over every token that the target can write."""
    source, target = pair
    lookup = LookupMap.fit(source, target, (), ridge=0.0)
    ids = [i for i in range(source.tokenizer.vocab_size) if i not in source.tokenizer.special_ids]
    kept = [i for i, p in zip(ids, token_pieces(source.tokenizer, target.tokenizer, ids), strict=True) if p]
    x = source.embedding_table()[kept].double()
    y = lookup.rows(torch.tensor(kept)).double()
    moved = lookup.transfer(x.float()).double()
    best = (x - x.mean(0)) @ torch.linalg.lstsq(x - x.mean(0), y - y.mean(0)).solution + y.mean(0)
    torch.testing.assert_close(moved, best, atol=1e-4, rtol=1e-3)


def test_low_rank_and_half_precision_approximate_the_table(pair: Pair, lookup: LookupMap) -> None:
    source, target = pair
    ids = torch.arange(source.tokenizer.vocab_size)
    whole = lookup.rows(ids)
    half = LookupMap.fit(source, target, (), dtype="float16")
    assert half.codes.dtype == torch.float16
    torch.testing.assert_close(half.rows(ids), whole, atol=1e-3, rtol=1e-2)
    errors = []
    for rank in (4, 16, target.embedding_size):
        low = LookupMap.fit(source, target, (), rank=rank)
        assert low.codes.shape == (len(ids), rank)
        errors.append(float((low.rows(ids) - whole).norm()))
        pulled = torch.randn(2, target.embedding_size)
        expected = (low.rows(ids) @ pulled.T).T
        torch.testing.assert_close(low.score_tokens(pulled), expected, atol=1e-4, rtol=1e-4)
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3


def test_a_fitted_table_is_found_again(pair: Pair, lookup: LookupMap, tmp_path) -> None:
    first = LookupMap.fit(*pair, (), cache_dir=tmp_path)
    (file,) = (tmp_path / "adapters").iterdir()
    written = file.stat().st_mtime_ns
    second = LookupMap.fit(*pair, (), cache_dir=tmp_path)
    assert file.stat().st_mtime_ns == written
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    file.write_bytes(b"damaged")
    third = LookupMap.fit(*pair, (), cache_dir=tmp_path)
    assert torch.equal(third.codes, lookup.codes)


def test_a_table_that_is_too_large_says_how_large_and_what_fits(pair: Pair) -> None:
    size = table_gib(*pair, None, "float32")
    with pytest.raises(
        UsageError, match=r"takes .* GiB, above adapter\.max_gib.*adapter\.rank=16 \(low rank\)"
    ):
        LookupMap.fit(*pair, (), max_gib=size / 2 * 1.001)
    assert LookupMap.fit(*pair, (), max_gib=size / 2 * 1.001, rank=16).codes.shape[1] == 16


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"rank": 0}, r"adapter\.rank=0"),
        ({"dtype": "int8"}, r"adapter\.dtype.*float16"),
        ({"max_gib": 0}, r"adapter\.max_gib"),
        ({"ridge": -1}, r"adapter\.ridge"),
    ],
)
def test_settings_out_of_range(setting: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LookupMap.check(**setting)


def test_a_rank_above_the_embedding_size(pair: Pair) -> None:
    with pytest.raises(UsageError, match=r"adapter\.rank=33.*at most 32"):
        LookupMap.fit(*pair, (), rank=33)


def test_word_table_is_the_encoders_own_embedding(pair: Pair) -> None:
    source, encoder = pair
    ids = source.tokenizer.encode(["a dog on the table"])[0]
    table = word_table(source, encoder, ids=ids)
    texts = [text.strip() for text in token_texts(source.tokenizer, ids)]
    torch.testing.assert_close(table.embeddings, encoder.encode(texts), atol=1e-6, rtol=1e-5)
