"""Loading models from a folder of safetensors."""

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gemma3, tiny_gpt2, tiny_llama, tiny_opt

from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.text_encoder import TextEncoder


def save(model, folder):
    model.model.save_pretrained(folder)
    model.tokenizer.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama, tiny_gemma3, tiny_opt])
def test_a_saved_language_model_loads(build, tmp_path):
    lm = build()
    loaded = CausalLM.load("copy", "path", path=save(lm, tmp_path))
    assert loaded.fingerprint == lm.fingerprint
    assert "model.safetensors" in loaded.weights.files
    ids = torch.tensor([[3, 4, 5]])
    torch.testing.assert_close(loaded(loaded.embed(ids)), lm(lm.embed(ids)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_loads_and_runs(dtype, tmp_path):
    lm = CausalLM.load("lm", "path", path=save(tiny_llama(), tmp_path / "lm"), dtype=dtype)
    assert str(lm.dtype) == f"torch.{dtype}"
    state = lm.start(torch.tensor([[3, 4, 5]]))
    assert state.log_probs.dtype == torch.float32
    torch.testing.assert_close(state.log_probs.exp().sum(), torch.tensor(1.0))
    bert = tiny_bert_encoder()
    encoder = TextEncoder.load("bert", "path", path=save(bert, tmp_path / "bert"), dtype=dtype)
    embedded = encoder.encode(["a cat"])
    assert embedded.dtype == torch.float32
    torch.testing.assert_close(embedded, bert.encode(["a cat"]), rtol=0, atol=0.05)
    torch.testing.assert_close(embedded.norm(), torch.tensor(1.0))


def test_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"lm\.dtype='int8' is not allowed: one of float32"):
        CausalLM.load("lm", "path", path=tmp_path, dtype="int8")


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    tiny_gpt2().model.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="lm: no tokenizer in"):
        CausalLM.load("lm", "path", path=tmp_path)


def test_damaged_weights_are_refused(tmp_path):
    save(tiny_gpt2(), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UsageError, match="lm: cannot load"):
        CausalLM.load("lm", "path", path=tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path):
    save(tiny_gpt2(), tmp_path)
    tiny_llama().model.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"lm: .* lacks the weights of"):
        CausalLM.load("lm", "path", path=tmp_path)
