"""Checkpoints of PEFT's other methods: P-tuning's are prompts; what is none is refused with what it is."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny_masked_lms import SIZES, tiny_lm
from transformers import BertConfig, BertForSequenceClassification

from fuse_repro.errors import UsageError
from fuse_repro.prompts import PEFT_WEIGHTS, load_peft, read_peft

IDS = torch.tensor([[5, 6, 7, 8]])
KIND: dict[str, Any] = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 4}


@pytest.mark.parametrize("network", ["MLP", "LSTM"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3"])
def test_the_finished_prompt_of_p_tuning_is_read(architecture: str, network: str, tmp_path: Path) -> None:
    """After training, so that the prompt is what the network makes and not what it began with."""
    lm = tiny_lm(architecture)
    settings = peft.PromptEncoderConfig(
        **KIND, encoder_hidden_size=16, encoder_reparameterization_type=network
    )
    tuned = peft.get_peft_model(lm.model, settings)
    optimizer = torch.optim.Adam([p for p in tuned.parameters() if p.requires_grad], lr=0.1)
    tuned(input_ids=IDS, labels=IDS).loss.backward()
    optimizer.step()
    tuned.save_pretrained(tmp_path)
    fresh = tiny_lm(architecture)
    prompt = load_peft(tmp_path, fresh)
    assert (prompt.position, prompt.length) == ("prefix", 4)
    read = torch.cat((prompt.embeddings, fresh.embed(IDS[0])))[None]
    with torch.no_grad():
        expected = tuned.eval()(input_ids=IDS).logits[..., : lm.tokenizer.vocab_size]
        torch.testing.assert_close(fresh(read), expected)


def test_a_prompt_of_a_model_in_bfloat16_is_read_with_its_values(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    tuned = peft.get_peft_model(lm.model.bfloat16(), peft.PromptTuningConfig(**KIND)).bfloat16()
    tuned.save_pretrained(tmp_path)
    kept = load_file(tmp_path / PEFT_WEIGHTS)["prompt_embeddings"]
    assert kept.dtype == torch.bfloat16
    read = read_peft(tmp_path).embeddings
    assert read.dtype == torch.float32
    assert torch.equal(read.bfloat16(), kept)


@pytest.mark.parametrize("method", [peft.PromptTuningConfig, peft.PromptEncoderConfig])
def test_the_head_of_a_classifier_is_left_out_with_a_line(
    method: type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"encoder_hidden_size": 16} if method is peft.PromptEncoderConfig else {}
    model = BertForSequenceClassification(BertConfig(vocab_size=50, **SIZES))
    tuned = peft.get_peft_model(model, method(task_type="SEQ_CLS", num_virtual_tokens=3, **more))
    tuned.save_pretrained(tmp_path)
    saved = load_file(tmp_path / PEFT_WEIGHTS)
    assert {name.split(".")[1] for name in saved if name != "prompt_embeddings"} == {"classifier"}
    assert torch.equal(read_peft(tmp_path).embeddings, saved["prompt_embeddings"])
    said = capsys.readouterr().err
    assert "base_model.classifier.bias, base_model.classifier.weight is left out" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            peft.PrefixTuningConfig(**KIND),
            r"PREFIX_TUNING \(keys and values for the attention of every layer",
        ),
        (
            peft.MultitaskPromptTuningConfig(**KIND, num_tasks=2),
            r"MULTITASK_PROMPT_TUNING \(one prompt for all tasks and a factor for each",
        ),
        (peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]), "LORA: only PROMPT_TUNING"),
    ],
)
def test_what_holds_no_prompt_is_refused_with_what_it_is(
    settings: peft.PeftConfig, said: str, tmp_path: Path
) -> None:
    peft.get_peft_model(tiny_lm("llama").model, settings).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=said) as raised:
        read_peft(tmp_path)
    assert "\n" not in str(raised.value)
    assert "and P_TUNING" in str(raised.value)
