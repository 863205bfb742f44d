"""Soft prompts: what is a valid one, where tuning starts, and PEFT checkpoints in both directions."""

import json
import os
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import save_file
from tiny_masked_lms import tiny_lm

from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import (
    PEFT_CONFIG,
    PEFT_KEY,
    PEFT_WEIGHTS,
    SoftPrompt,
    for_model,
    load_peft,
    normal_init,
    save_peft,
    template_init,
    vocabulary_init,
)
from fuse_repro.tasks.layout import Layout, collate
from fuse_repro.tasks.predict import answer_logits, fill

TEXT = "The cat and the bridge"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prompt_logits(lm: FrozenModel, prompt: SoftPrompt) -> torch.Tensor:
    """What the package answers after TEXT."""
    batch = collate(Layout.of(lm, prompt).rows([TEXT]), lm.device)
    filled = fill(batch, lm.embed(batch.ids), prompt.embeddings)
    return answer_logits(lm, filled, batch.mask, batch.answers)[0]


def peft_logits(model: PeftModel, lm: FrozenModel, length: int) -> torch.Tensor:
    """What peft answers after TEXT, or at a mask token behind it."""
    prompt = for_model(lm, torch.zeros(length, lm.embedding_size), "prefix")
    row = Layout.of(lm, prompt).rows([TEXT])[0]
    ids = torch.tensor([row.ids[length:]])
    with torch.no_grad():
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return output.logits[0, row.answer, : lm.tokenizer.vocab_size]


def peft_config(lm: FrozenModel, m: int = 4) -> PromptTuningConfig:
    causal = type(lm).__name__ == "CausalLM"
    return PromptTuningConfig(
        task_type="CAUSAL_LM" if causal else "FEATURE_EXTRACTION",
        num_virtual_tokens=m,
        token_dim=lm.embedding_size,
        num_layers=2,
        num_attention_heads=2,
    )


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3", "bert", "roberta", "albert"])
def test_a_prompt_tuned_with_peft_gives_the_same_logits_here(architecture: str, tmp_path: Path) -> None:
    lm = tiny_lm(architecture)
    peft_model = get_peft_model(lm.model, peft_config(lm)).eval()
    optimizer = torch.optim.Adam([p for p in peft_model.parameters() if p.requires_grad], lr=0.1)
    ids = torch.tensor(lm.tokenizer.encode([TEXT]))
    for _ in range(2):
        logits = peft_model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        loss = -logits[:, -1].log_softmax(dim=-1)[:, 7].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    peft_model.save_pretrained(tmp_path)
    fresh = tiny_lm(architecture)
    prompt = load_peft(tmp_path, fresh)
    assert (prompt.position, prompt.length) == ("prefix", 4)
    torch.testing.assert_close(prompt_logits(fresh, prompt), peft_logits(peft_model, lm, 4))


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3", "bert", "roberta", "albert"])
def test_a_prompt_saved_here_gives_the_same_logits_in_peft(architecture: str, tmp_path: Path) -> None:
    lm = tiny_lm(architecture)
    prompt = for_model(lm, normal_init(lm, 3, generator()), "prefix")
    save_peft(prompt, tmp_path / "prompt", lm, base_model="some/model")
    expected = prompt_logits(lm, prompt)
    peft_model = PeftModel.from_pretrained(tiny_lm(architecture).model, tmp_path / "prompt").eval()
    assert peft_model.peft_config["default"].base_model_name_or_path == "some/model"
    torch.testing.assert_close(peft_logits(peft_model, lm, 3), expected)


def test_what_is_saved_is_read_again_with_its_place_and_owner(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    prompt = for_model(lm, normal_init(lm, 3, generator()), "postfix")
    save_peft(prompt, tmp_path, lm)
    again = load_peft(tmp_path, lm)
    assert torch.equal(again.embeddings, prompt.embeddings)
    assert (again.position, again.model, again.fingerprint) == ("postfix", "tiny-llama", lm.fingerprint)
    assert sorted(path.name for path in tmp_path.iterdir()) == [PEFT_CONFIG, PEFT_WEIGHTS]


def test_a_prompt_of_another_model_is_refused(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    save_peft(for_model(lm, normal_init(lm, 3, generator())), tmp_path, lm)
    with pytest.raises(
        UsageError, match=r"soft prompt \(of tiny-llama\) was made for other weights .*tiny-llama"
    ):
        load_peft(tmp_path, tiny_lm("llama", seed=1))
    with pytest.raises(
        UsageError, match=r"size 32 \(of tiny-llama\) does not fit tiny-albert.* size 20: transfer"
    ):
        load_peft(tmp_path, tiny_lm("albert"))


def test_a_lora_checkpoint_is_refused(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    lora = get_peft_model(
        tiny_lm("llama").model, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    )
    lora.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="is a PEFT checkpoint of LORA: only PROMPT_TUNING is a soft prompt"):
        load_peft(tmp_path, lm)


def test_a_checkpoint_with_nan_is_refused(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    save_peft(for_model(lm, normal_init(lm, 3, generator())), tmp_path, lm)
    save_file({PEFT_KEY: torch.full((3, 32), torch.nan)}, tmp_path / PEFT_WEIGHTS)
    with pytest.raises(UsageError, match="not finite"):
        load_peft(tmp_path, lm)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / PEFT_CONFIG).unlink(), "adapter_config.json cannot be read"),
        (lambda folder: (folder / PEFT_CONFIG).write_text("{"), "adapter_config.json is not JSON"),
        (
            lambda folder: (folder / PEFT_WEIGHTS).unlink(),
            "does not exist: save the checkpoint as safetensors",
        ),
        (lambda folder: (folder / PEFT_WEIGHTS).write_bytes(b"x"), "adapter_model.safetensors is damaged"),
        (
            lambda folder: save_file({"other": torch.ones(3, 32)}, folder / PEFT_WEIGHTS),
            "holds no tensor 'prompt_embeddings'",
        ),
        (
            lambda folder: save_file(
                {PEFT_KEY: torch.ones(3, 32), "x": torch.ones(1)}, folder / PEFT_WEIGHTS
            ),
            "holds x besides 'prompt_embeddings'",
        ),
        (
            lambda folder: save_file({PEFT_KEY: torch.ones(4, 32)}, folder / PEFT_WEIGHTS),
            r"shape \(4, 32\), but adapter_config.json says \(3, 32\)",
        ),
        (lambda folder: (folder / PEFT_WEIGHTS).write_bytes(b""), "adapter_model.safetensors is damaged"),
        (
            lambda folder: save_file({PEFT_KEY: torch.ones(3, 32, dtype=torch.int64)}, folder / PEFT_WEIGHTS),
            "holds a prompt of dtype torch.int64: vectors of floating-point numbers",
        ),
        (
            lambda folder: (folder / PEFT_CONFIG).write_text("[" * 100_000),
            "adapter_config.json is not JSON",
        ),
        (lambda folder: _set(folder, num_transformer_submodules=2), "is a prompt for 2 transformers"),
        (
            lambda folder: _set(folder, num_virtual_tokens="3"),
            r"says \('3', 32\): take both files from the same",
        ),
        (lambda folder: _set(folder, peft_type=["PROMPT_TUNING"]), "only PROMPT_TUNING is a soft prompt"),
        (lambda folder: (folder / PEFT_CONFIG).write_text("NaN"), "only PROMPT_TUNING is a soft prompt"),
        (lambda folder: (folder / PEFT_CONFIG).write_bytes(b"\xff\xfe"), "adapter_config.json is not JSON"),
        (lambda folder: _cut(folder / PEFT_WEIGHTS), "adapter_model.safetensors is damaged"),
        (
            lambda folder: save_file(
                {PEFT_KEY: torch.ones(3, 32)}, folder / PEFT_WEIGHTS, {"position": "middle", "model": "x"}
            ),
            "position='middle' is not allowed: one of prefix, postfix",
        ),
        (lambda folder: _pipe(folder / PEFT_CONFIG), "cannot be read .a named pipe, not a file"),
        (lambda folder: _pipe(folder / PEFT_WEIGHTS), "is damaged .*a named pipe, not a file"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_line(change: object, message: str, tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    save_peft(for_model(lm, normal_init(lm, 3, generator())), tmp_path, lm)
    change(tmp_path)  # type: ignore[operator]
    with pytest.raises(UsageError, match=message) as raised:
        load_peft(tmp_path, lm)
    assert "\n" not in str(raised.value)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_half_precision_is_read_as_the_prompt_that_it_is(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    save_peft(for_model(lm, normal_init(lm, 3, generator())), tmp_path, lm)
    values = torch.arange(96.0).reshape(3, 32)
    save_file({PEFT_KEY: values.bfloat16()}, tmp_path / PEFT_WEIGHTS)
    _set(tmp_path, base_model_name_or_path=None)
    read = load_peft(tmp_path, lm)
    assert read.embeddings.dtype == torch.float32
    assert torch.equal(read.embeddings, values)


def _set(folder: Path, **values: object) -> None:
    config = json.loads((folder / PEFT_CONFIG).read_text())
    (folder / PEFT_CONFIG).write_text(json.dumps(config | values))


@pytest.mark.parametrize(
    ("embeddings", "position", "message"),
    [
        (torch.ones(3), "prefix", r"shape=\(3,\) is not allowed: \[m, d\]"),
        (torch.ones(0, 3), "prefix", r"shape=\(0, 3\) is not allowed"),
        (torch.ones(1, 3), "middle", "position='middle' is not allowed: one of prefix, postfix"),
        (torch.tensor([[1.0, float("nan")]]), "prefix", "not finite"),
        (torch.tensor([[1.0, float("inf")]]), "postfix", "not finite"),
    ],
)
def test_an_impossible_prompt_is_refused(embeddings: torch.Tensor, position: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SoftPrompt(embeddings, position)


def test_the_normal_start_has_the_moments_of_the_embedding_values() -> None:
    lm = tiny_lm("gemma3")  # its embeddings are scaled inside the model
    drawn = normal_init(lm, 2000, generator())
    table = lm.embedding_table()
    torch.testing.assert_close(drawn.std(), table.std(), rtol=0.02, atol=0.0)
    torch.testing.assert_close(drawn.mean(), table.mean(), rtol=0.0, atol=0.05 * float(table.std()))
    assert torch.equal(drawn, normal_init(lm, 2000, generator()))
    assert not torch.equal(drawn, normal_init(lm, 2000, generator(1)))


def test_the_vocabulary_start_is_m_different_ordinary_tokens() -> None:
    lm = tiny_lm("bert")
    drawn = vocabulary_init(lm, 40, generator())
    nearest = torch.cdist(drawn, lm.embedding_table()).argmin(dim=1).tolist()
    assert len(set(nearest)) == 40
    assert not lm.tokenizer.special_ids & set(nearest)
    torch.testing.assert_close(lm.embed(torch.tensor(nearest)), drawn)


def test_the_template_start_repeats_or_cuts_the_text() -> None:
    lm = tiny_lm("llama")
    ids = lm.tokenizer.encode(["the cat and a dog"])[0]
    whole = template_init(lm, "the cat and a dog")
    assert torch.equal(whole, lm.embed(torch.tensor(ids)))
    assert torch.equal(template_init(lm, "the cat and a dog", 2), whole[:2])
    longer = template_init(lm, "the cat and a dog", len(ids) + 2)
    assert torch.equal(longer, torch.cat((whole, whole[:2])))
    with pytest.raises(UsageError, match="template='' is not allowed"):
        template_init(lm, "")
    with pytest.raises(UsageError, match="m=0 is not allowed"):
        normal_init(lm, 0, generator())
