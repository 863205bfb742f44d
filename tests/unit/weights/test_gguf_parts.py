"""Models in several GGUF files."""

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from fuse_repro.errors import UsageError
from fuse_repro.weights.convert import gguf_to_safetensors
from fuse_repro.weights.gguf_parts import joined

HIDDEN, WORDS = 16, 32


def tensors():
    """A Llama of one layer, in the names of GGUF."""
    shapes = {
        "token_embd.weight": (WORDS, HIDDEN),
        "output_norm.weight": (HIDDEN,),
        "output.weight": (WORDS, HIDDEN),
        "blk.0.attn_norm.weight": (HIDDEN,),
        "blk.0.ffn_norm.weight": (HIDDEN,),
        **{f"blk.0.attn_{name}.weight": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}.weight": (HIDDEN, HIDDEN) for name in ("gate", "up", "down")},
    }
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write(path, part, *, split=None, metadata=True):
    writer = GGUFWriter(path, "llama")
    if metadata:
        writer.add_block_count(1)
        writer.add_context_length(64)
        writer.add_embedding_length(HIDDEN)
        writer.add_feed_forward_length(HIDDEN)
        writer.add_head_count(2)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_vocab_size(WORDS)
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list([*(chr(ord("A") + number) for number in range(WORDS - 1)), "AB"])
        writer.add_token_types([1] * WORDS)
        writer.add_token_merges(["A B"])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
    if split is not None:
        writer.add_uint16("split.no", split[0])
        writer.add_uint16("split.count", split[1])
        writer.add_int32("split.tensors.count", len(tensors()))
    for name, tensor in part.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def in_parts(folder, count=3):
    """The model in files as gguf-split names them; only the first holds what is not a tensor."""
    items = list(tensors().items())
    for number in range(count):
        path = folder / f"tiny-{number + 1:05}-of-{count:05}.gguf"
        write(path, dict(items[number::count]), split=(number, count), metadata=number == 0)


def contents(path):
    return {tensor.name: np.array(tensor.data) for tensor in GGUFReader(path).tensors}


def test_parts_are_joined_to_one_file(tmp_path):
    in_parts(tmp_path)
    whole = joined(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [whole.name] == ["tiny-joined.gguf"]
    found = contents(whole)
    assert found.keys() == tensors().keys()
    assert all((found[name] == tensor).all() for name, tensor in tensors().items())
    reader = GGUFReader(whole)
    assert reader.get_field("llama.block_count").contents() == 1
    assert reader.get_field("tokenizer.ggml.tokens").contents()[:2] == ["A", "B"]
    assert reader.get_field("split.count") is None


def test_a_model_in_parts_is_converted_as_a_whole_one_is(tmp_path):
    from safetensors.numpy import load_file

    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    write(tmp_path / "whole" / "tiny.gguf", tensors())
    in_parts(tmp_path / "parts")
    for name in ("whole", "parts"):
        gguf_to_safetensors(tmp_path / name, "float32")
        assert not list((tmp_path / name).glob("*.gguf"))
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all((whole[name] == parts[name]).all() for name in whole)
    assert (parts["model.embed_tokens.weight"] == tensors()["token_embd.weight"]).all()


def test_a_missing_part_is_said(tmp_path):
    in_parts(tmp_path)
    (tmp_path / "tiny-00002-of-00003.gguf").unlink()
    with pytest.raises(UsageError, match=r"2 of 3 parts of a GGUF file: give all parts"):
        gguf_to_safetensors(tmp_path, "float32")
    (tmp_path / "tiny-00003-of-00003.gguf").unlink()
    with pytest.raises(UsageError, match=r"1 of 3 parts"):
        joined(tmp_path)


def test_files_of_several_models_are_refused(tmp_path):
    write(tmp_path / "a.gguf", tensors())
    write(tmp_path / "b.gguf", tensors())
    with pytest.raises(UsageError, match=r"a.gguf, b.gguf are not the parts of one GGUF file"):
        joined(tmp_path)
