"""Loading models from a folder of safetensors."""

import base64
import contextlib
import json
import os
import signal

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gemma3, tiny_gpt2, tiny_llama, tiny_opt

from fuse_repro.errors import UsageError
from fuse_repro.models.broken_files import read_tensors, reading, without_panic_messages
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.sizes import model_size
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.weights.listing import Damaged, read_listing
from fuse_repro.weights.references import check_references
from fuse_repro.weights.verify import hash_files


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


def edit(file, key, value) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))


def one_line(caught, capfd) -> str:
    """What was said; nothing else may have been printed, by the libraries' own code either."""
    assert "\n" not in str(caught.value)
    assert "panicked" not in capfd.readouterr().err
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", "many"),
        ("vocab_size", 10**12),
        ("n_head", 0),
        ("n_head", None),
        ("n_embd", 1.5),
        ("activation_function", 3),
        ("activation_function", "nope"),
        ("model_type", 3),
        ("quantization_config", 3),
        ("id2label", 3),
        ("pad_token_id", "x"),
        ("rope_parameters", 3),
        ("dtype", "banana"),
    ],
)
def test_a_config_with_values_of_the_wrong_kind_is_one_line(tmp_path, capfd, key, value):
    save(tiny_gpt2(), tmp_path)
    edit(tmp_path / "config.json", key, value)
    with pytest.raises(UsageError, match=r"lm: cannot (load|read the tokenizer in)") as caught:
        CausalLM.load("lm", "path", path=tmp_path)
    one_line(caught, capfd)


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
)
@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, "[]", "{", "3"])
def test_files_of_another_form_are_one_line(tmp_path, capfd, file, text):
    save(tiny_gpt2(), tmp_path)
    (tmp_path / file).write_text(text)
    if (file, text) == ("generation_config.json", "{"):  # left aside by transformers; nothing is sampled here
        CausalLM.load("lm", "path", path=tmp_path)
        return
    with pytest.raises(UsageError) as caught:
        CausalLM.load("lm", "path", path=tmp_path)
    one_line(caught, capfd)


PANICS = {
    "normalizer": {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(b"\4\0\0\0\xff\xff\xff\xff").decode(),
    },
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    },
}


@pytest.mark.parametrize("part", PANICS)
def test_a_tokenizer_that_panics_is_one_line(tmp_path, capfd, part):
    save(tiny_gpt2(), tmp_path)
    edit(tmp_path / "tokenizer.json", part, PANICS[part])
    with pytest.raises(
        UsageError, match=r"lm: cannot read the tokenizer in .* \(PanicException: .*\): get or"
    ) as caught:
        CausalLM.load("lm", "path", path=tmp_path)
    one_line(caught, capfd)


@pytest.mark.parametrize(
    ("key", "value"),
    [("added_tokens_decoder", 3), ("bos_token", 3), ("tokenizer_class", 3), ("model_max_length", "x")],
)
def test_a_tokenizer_config_with_values_of_the_wrong_kind_is_one_line(tmp_path, capfd, key, value):
    save(tiny_gpt2(), tmp_path)
    edit(tmp_path / "tokenizer_config.json", key, value)
    with pytest.raises(UsageError, match=r"lm: (cannot read the tokenizer|model_max_length='x')") as caught:
        CausalLM.load("lm", "path", path=tmp_path)
    one_line(caught, capfd)


def test_a_request_to_stop_is_no_broken_file():
    for stop in (KeyboardInterrupt, SystemExit):
        with pytest.raises(stop), reading("x"), without_panic_messages():
            raise stop


def test_what_is_written_beside_a_panic_is_not_lost(capfd):
    with without_panic_messages():
        os.write(2, b"a warning\n")
    assert capfd.readouterr().err == "a warning\n"


OPENED = {
    "path": lambda folder: CausalLM.load("lm", "path", path=folder),
    "cache": lambda folder: (read_listing(folder), check_references(folder)),
}
SPECIAL = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "entry.json",
    "generation_config.json",
    "x.jinja",
)


@pytest.mark.parametrize("file", SPECIAL)
@pytest.mark.parametrize("source", OPENED)
def test_a_named_pipe_in_a_model_is_refused_and_not_waited_for(tmp_path, file, source):
    """Opening it for reading waits for a writer, for ever."""
    folder = save(tiny_gpt2(), tmp_path / "lm")
    (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file)
    with in_seconds(30), pytest.raises((UsageError, Damaged)) as caught:
        OPENED[source](folder)
    assert "\n" not in str(caught.value)
    if source == "path":
        assert str(caught.value).startswith(
            f"{folder / file} cannot be read (a named pipe, not a file): remove it"
        )


def test_a_named_pipe_is_no_size_and_no_head(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with in_seconds(30):
        with pytest.raises(UsageError, match=r"cannot read .*a named pipe"):
            model_size({"source": "path", "path": str(tmp_path)})
        with pytest.raises(UsageError, match=r"head .*a named pipe"):
            read_tensors(tmp_path / "model.safetensors", "head")
        with pytest.raises(UsageError, match=r"cannot read .*a named pipe"):
            hash_files(tmp_path, ["model.safetensors"], "lm")


@contextlib.contextmanager
def in_seconds(seconds):
    """A failure, and no test that never ends, where something waits."""

    def ring(*_):
        raise TimeoutError("something waited")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
