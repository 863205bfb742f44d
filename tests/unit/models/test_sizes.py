"""The table of model sizes against transformers itself, and sizes read from files."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import save_model, tiny_gpt2

from fuse_repro.errors import UsageError
from fuse_repro.models.sizes import KNOWN, ModelSize, model_size

LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
ALBERT = {"vocab_size": 30000, "embedding_size": 128}
PUBLISHED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {}),
    "gpt2_medium": ("GPT2Config", "GPT2LMHeadModel", {"n_embd": 1024, "n_layer": 24, "n_head": 16}),
    "gpt2_large": ("GPT2Config", "GPT2LMHeadModel", {"n_embd": 1280, "n_layer": 36, "n_head": 20}),
    "bert_base": ("BertConfig", "BertForMaskedLM", {"vocab_size": 28996}),
    "bert_large": ("BertConfig", "BertForMaskedLM", {"vocab_size": 28996, **LARGE}),
    "roberta_base": ("RobertaConfig", "RobertaForMaskedLM", ROBERTA),
    "roberta_large": ("RobertaConfig", "RobertaForMaskedLM", {**ROBERTA, **LARGE}),
    "albert_base": ("AlbertConfig", "AlbertForMaskedLM", {**ALBERT, **BASE}),
    "albert_large": ("AlbertConfig", "AlbertForMaskedLM", {**ALBERT, **LARGE}),
    "twitter_roberta": ("RobertaConfig", "RobertaForSequenceClassification", {**ROBERTA, "num_labels": 3}),
    "clip_vit_b32": ("CLIPConfig", "CLIPModel", {}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_published_architecture(name: str) -> None:
    config, model, settings = PUBLISHED[name]
    with torch.device("meta"):
        made = getattr(transformers, model)(getattr(transformers, config)(**settings))
    assert KNOWN[name].parameters == sum(parameter.numel() for parameter in made.parameters())


@pytest.mark.parametrize(("name", "layers", "width"), [("gpt2", 12, 768), ("gpt2_medium", 24, 1024)])
def test_multiply_adds_are_those_of_the_layers_and_the_head(name: str, layers: int, width: int) -> None:
    """12 d^2 of a layer (4 d^2 of attention, 8 d^2 of the feed-forward part), and the head."""
    assert KNOWN[name].per_token == pytest.approx(layers * 12 * width**2 + 50257 * width, rel=1e-2)


def test_files_are_counted_by_their_headers(tmp_path: Path) -> None:
    model = tiny_gpt2()
    folder = save_model(model, tmp_path / "any")
    found = model_size({"name": "gpt2_medium", "source": "path", "path": str(folder)})
    assert found is not None
    assert found.parameters == sum(parameter.numel() for parameter in model.model.parameters())


def test_a_second_copy_of_the_weights_is_not_counted(tmp_path: Path) -> None:
    """Mistral's repositories hold all weights twice: as transformers names them, and in consolidated.safetensors."""
    lm = tiny_gpt2()
    for name, most in (("whole", "1GB"), ("parts", "20KB")):
        save_model(lm, tmp_path / name)
        (tmp_path / name / "model.safetensors").rename(tmp_path / name / "consolidated.safetensors")
        lm.model.save_pretrained(tmp_path / name, max_shard_size=most)
        found = model_size({"source": "path", "path": str(tmp_path / name)})
        assert found is not None
        assert found.parameters == sum(parameter.numel() for parameter in lm.model.parameters())
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 1


def test_names_are_looked_up_and_unknown_ones_are_none() -> None:
    assert model_size({"name": "gpt2", "source": "hub"}) == ModelSize(124_439_808, 123.5e6)
    assert model_size({"name": "somebody's", "source": "hub"}) is None
    assert model_size({"name": "somebody's", "source": "path", "path": "nowhere"}) is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0[]", b"\0" * 100])
def test_a_header_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read .*model\.safetensors .*: get or save it again"):
        model_size({"source": "path", "path": str(tmp_path)})
