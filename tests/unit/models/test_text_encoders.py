"""What holds for every text encoder, dual encoders included."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_bert_encoder, tiny_clip, tiny_conse, tiny_siglip

from fuse_repro.alignment.pairs import pad_ids
from fuse_repro.errors import UsageError
from fuse_repro.models.clip import ClipDualEncoder
from fuse_repro.models.siglip import SiglipDualEncoder
from fuse_repro.models.text_encoder import TextEncoder

TEXTS = [
    "a cat",
    "A baseball player swings his bat at the ball.",
    "",
    "a cat",
    "the café was naïve, they said",
    "two dogs",
    "x",
]
BUILDERS = {
    "bert-mean": tiny_bert_encoder,
    "bert-cls": partial(tiny_bert_encoder, pooling="cls"),
    "clip": tiny_clip,
    "siglip": tiny_siglip,
    "conse": tiny_conse,
}


@pytest.fixture(params=list(BUILDERS))
def encoder(request) -> TextEncoder:
    return BUILDERS[request.param]()


def padded(encoder: TextEncoder, texts: list[str], extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Content embeddings, padded on the right with random rows, and their mask."""
    ids = encoder.tokenizer.encode(texts)
    size = max(map(len, ids)) + extra
    junk = torch.randint(encoder.tokenizer.vocab_size, (len(ids), size), generator=torch.manual_seed(3))
    mask = torch.zeros(len(ids), size)
    for row, tokens in enumerate(ids):
        junk[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        mask[row, : len(tokens)] = 1
    return encoder.embed(junk), mask


def test_encode_equals_forward_of_the_embeddings(encoder):
    encoded = encoder.encode(TEXTS)
    assert encoded.shape == (len(TEXTS), encoder.output_size)
    torch.testing.assert_close(encoded, encoder(*padded(encoder, TEXTS)), rtol=1e-4, atol=1e-5)


def test_texts_are_wrapped_as_the_tokenizer_wraps_them(encoder):
    """The model itself, on the ids of the tokenizer with special tokens."""
    text = TEXTS[1]
    ids = torch.tensor([encoder.tokenizer.tokenizer(text)["input_ids"]])
    if isinstance(encoder, SiglipDualEncoder):  # trained on texts that fill all positions
        padding = encoder.tokenizer.tokenizer.pad_token_id
        ids = torch.nn.functional.pad(ids, (0, encoder.max_tokens - ids.shape[1]), value=padding)
    if isinstance(encoder, ClipDualEncoder):
        expected = encoder.model.get_text_features(input_ids=ids).pooler_output
    else:
        hidden = encoder.model(input_ids=ids).last_hidden_state
        expected = hidden.mean(dim=1) if encoder.pooling == "mean" else hidden[:, 0]
    torch.testing.assert_close(
        encoder.encode([text]), torch.nn.functional.normalize(expected, dim=-1), rtol=1e-4, atol=1e-5
    )


def test_length_is_one(encoder):
    torch.testing.assert_close(encoder.encode(TEXTS).norm(dim=-1), torch.ones(len(TEXTS)))
    torch.testing.assert_close(encoder(*padded(encoder, TEXTS)).norm(dim=-1), torch.ones(len(TEXTS)))


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_batches_do_not_matter(encoder, batch_size):
    singles = torch.cat([encoder.encode([text]) for text in TEXTS])
    torch.testing.assert_close(encoder.encode(TEXTS, batch_size), singles, rtol=0, atol=1e-5)


def test_padding_changes_nothing(encoder):
    tight, wide = padded(encoder, TEXTS), padded(encoder, TEXTS, extra=5)
    torch.testing.assert_close(encoder(*tight), encoder(*wide), rtol=0, atol=1e-5)


def test_padding_takes_no_gradient(encoder):
    embeddings, mask = padded(encoder, TEXTS, extra=2)
    embeddings.requires_grad_()
    (gradient,) = torch.autograd.grad(encoder(embeddings, mask)[:, 0].sum(), embeddings)
    assert (gradient[mask == 0] == 0).all()
    assert (gradient[mask == 1] != 0).any(dim=-1).all()


def test_gradient_is_right(encoder):
    encoder = encoder.double()
    embeddings, mask = padded(encoder, ["a cat", "two dogs"])
    target = torch.randn(encoder.output_size, generator=torch.manual_seed(4))

    def loss(embeddings: torch.Tensor) -> torch.Tensor:
        return (encoder(embeddings, mask) @ target).sum()

    embeddings.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(embeddings), embeddings)
    direction = torch.randn(embeddings.shape, dtype=torch.float64, generator=torch.manual_seed(5))
    with torch.no_grad():
        numeric = (loss(embeddings + 1e-3 * direction) - loss(embeddings - 1e-3 * direction)) / 2e-3
    torch.testing.assert_close((gradient * direction).sum().float(), numeric, rtol=1e-2, atol=1e-4)


def test_encoding_nothing_gives_no_rows(encoder):
    assert encoder.encode([]).shape == (0, encoder.output_size)


def test_results_can_be_used_with_autograd(encoder):
    weight = torch.ones(encoder.output_size, requires_grad=True)
    (encoder.encode(["a cat"]) * weight).sum().backward()
    assert weight.grad is not None


def test_too_long_a_text_is_refused(encoder):
    text = "cat " * 100
    with pytest.raises(UsageError, match=f"too long: at most {encoder.max_tokens} are allowed"):
        encoder.encode([text])
    with pytest.raises(UsageError, match="shorten the text"):
        encoder(*padded(encoder, [text]))


def test_padding_on_the_left_is_refused(encoder):
    with pytest.raises(UsageError, match="pad on the right"):
        encoder(torch.zeros(1, 2, encoder.embedding_size), torch.tensor([[0, 1]]))


def test_a_mask_whose_maker_is_known_is_not_looked_at_again(encoder):
    """That would have the CPU wait for the device; the embeddings are the same."""
    embeddings, mask = padded(encoder, ["a cat", "a cat on a table"])
    assert torch.equal(encoder(embeddings, mask, padded_right=True), encoder(embeddings, mask))


@given(st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=5))
@settings(deadline=None)
def test_padding_of_alignments_is_on_the_right(sequences):
    ids, mask = pad_ids(sequences, "cpu")
    assert mask.sum(1).tolist() == [len(sequence) for sequence in sequences]
    assert not (mask[:, 1:] & ~mask[:, :-1]).any()
    assert [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)] == sequences


def test_batch_size_must_be_positive(encoder):
    with pytest.raises(UsageError, match="batch_size=0 is not allowed"):
        encoder.encode(["a cat"], batch_size=0)


def test_batches_are_halved_when_memory_runs_out(encoder, monkeypatch):
    expected = encoder.encode(["a b", "a c", "a d", "a e", "a f"])
    pool, sizes = encoder._pool, []

    def small_memory(embeddings, lengths):
        sizes.append(len(embeddings))
        if len(embeddings) > 2:
            raise torch.OutOfMemoryError
        return pool(embeddings, lengths)

    monkeypatch.setattr(encoder, "_pool", small_memory)
    torch.testing.assert_close(
        encoder.encode(["a b", "a c", "a d", "a e", "a f"]), expected, rtol=0, atol=1e-5
    )
    assert max(sizes) >= 4  # texts of one length; it ran out of memory


def test_unknown_pooling_is_refused():
    with pytest.raises(UsageError, match="pooling='max' is not allowed: one of mean, cls"):
        tiny_bert_encoder(pooling="max")
