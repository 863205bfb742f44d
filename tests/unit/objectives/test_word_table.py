"""Tables of single words: every setting of the encoder has its own, on disk and in memory."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gemma3, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import LookupMap
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.objectives import MultiObjectiveLoss, TextMatchTerm
from fuse_repro.objectives.word_table import word_table
from fuse_repro.search import Linearisation, PromptProblem, Proposal
from fuse_repro.search.gradient import OpenPrompt
from fuse_repro.weights import WeightsEntry

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
FILES = {"model.safetensors": "of all encoders here"}


def from_files(encoder: TextEncoder) -> TextEncoder:
    """The encoder as if its weights had been read from a folder: only then a table is kept."""
    encoder.weights = WeightsEntry(Path("folder"), FILES, "path folder")
    return encoder


@pytest.mark.parametrize(
    "other",
    [lambda: tiny_bert_encoder(pooling="cls"), lambda: tiny_bert_encoder().to(torch.bfloat16)],
    ids=["pooling", "dtype"],
)
def test_encoders_of_the_same_weights_share_no_table(
    tmp_path: Path, other: Callable[[], TextEncoder]
) -> None:
    source = tiny_gpt2()
    first, second = from_files(tiny_bert_encoder()), from_files(other())
    kept = word_table(source, first, tmp_path).embeddings
    own = word_table(source, second, tmp_path).embeddings
    torch.testing.assert_close(own, word_table(source, second).embeddings)
    assert (own - kept).abs().max() > 1e-3
    assert len(list(tmp_path.rglob("words-*.safetensors"))) == 2


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_kept_table_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pooling: str) -> None:
    source = tiny_gpt2()
    made = word_table(source, from_files(tiny_bert_encoder(pooling=pooling)), tmp_path)
    again = from_files(tiny_bert_encoder(pooling=pooling))
    monkeypatch.setattr(again, "encode", None)
    found = word_table(source, again, tmp_path)
    assert torch.equal(found.embeddings, made.embeddings)
    assert torch.equal(found.contributions, made.contributions)
    assert torch.equal(found.embeddings, found.contributions) == (pooling == "mean")


def test_mixed_precision_does_not_reach_a_table() -> None:
    source, encoder = tiny_gpt2(), tiny_bert_encoder()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = word_table(source, encoder)
    assert torch.equal(mixed.embeddings, word_table(source, encoder).embeddings)


def test_one_term_serves_two_language_models() -> None:
    """Each predicts from the table of its own vocabulary, whichever came first."""
    encoder = tiny_bert_encoder()
    settings = Proposal(
        linearisation=Linearisation("dummy"), zeroth="alone", zeroth_weight=(5.0, 5.0), calibrated=True
    )
    shared = TextMatchTerm("text", encoder)
    targets = {"text": shared.target("A cat on a table.")}
    for lm in (tiny_gpt2(), tiny_gemma3()):
        fresh = TextMatchTerm("text", encoder)
        shared.adapter = fresh.adapter = LookupMap.fit(lm, encoder, WORDS)
        log_probs = torch.zeros(1, lm.tokenizer.vocab_size)
        found, expected = (
            settings.predict(
                PromptProblem(lm, MultiObjectiveLoss({"text": term}), "A", targets),
                [OpenPrompt("A")],
                log_probs,
            )
            for term in (shared, fresh)
        )
        torch.testing.assert_close(found, expected)
