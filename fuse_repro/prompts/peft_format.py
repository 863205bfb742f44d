"""Soft prompts in the format of PEFT: written as prompt tuning, read as prompt tuning and as P-tuning."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.prompts.places import FRONT, rows_for_peft, without_front
from fuse_repro.prompts.soft_prompt import SoftPrompt
from fuse_repro.shown import say
from fuse_repro.storage import files
from fuse_repro.storage.reading import open_regular, parse_json, require_regular
from fuse_repro.storage.tensors import Damaged, open_tensors, write

PEFT_CONFIG, PEFT_WEIGHTS, PEFT_KEY = "adapter_config.json", "adapter_model.safetensors", "prompt_embeddings"
ELSEWHERE = "another folder"
FINISHED = ("PROMPT_TUNING", "P_TUNING")  # methods whose checkpoints hold the vectors that the model reads
OTHERS = {
    "PREFIX_TUNING": "keys and values for the attention of every layer, and no vectors that a model reads as tokens",
    "MULTITASK_PROMPT_TUNING": "one prompt for all tasks and a factor for each, and no prompt that a model reads as it "
    "is",
}


def save_peft(prompt: SoftPrompt, folder: Path, lm: FrozenModel, base_model: str | None = None) -> None:
    """Write a prompt in PEFT's prompt-tuning format, for `peft.PeftModel.from_pretrained(model, folder)`.

    PEFT always puts a prompt in front; where a `postfix` prompt stands, and for which weights it is, are kept in
    the weight file's metadata, which PEFT passes over and `load_peft` reads. An `after_bos` prompt is written with the
    model's own first tokens as its first rows: PEFT reads it right with a text that is tokenised without these.

    Args:
        prompt: the prompt; must fit `lm`.
        folder: made if missing; files of an earlier checkpoint are replaced.
        lm: the model the prompt is for.
        base_model: what PEFT shall load as the base model (a hub id or a folder); the model's name if None.

    Raises:
        UsageError: the prompt does not fit `lm`, or the folder cannot be written.
    """
    prompt.check_model(lm)
    settings = lm.model.config
    rows, front = rows_for_peft(prompt, lm)
    config = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM" if isinstance(lm, CausalLM) else "FEATURE_EXTRACTION",
        "base_model_name_or_path": base_model or lm.name,
        "inference_mode": True,
        "num_virtual_tokens": len(rows),
        "token_dim": rows.shape[1],
        "num_transformer_submodules": 1,
        "num_attention_heads": settings.num_attention_heads,
        "num_layers": settings.num_hidden_layers,
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": None,
        "tokenizer_name_or_path": None,
    }
    metadata = {
        "format": "pt",
        "position": prompt.position,
        "model": prompt.model,
        "fingerprint": prompt.fingerprint,
        FRONT: str(front),
    }
    folder = Path(folder)
    files.sweep_up(folder, files.DAY_S)
    write(folder / PEFT_WEIGHTS, {PEFT_KEY: rows}, metadata, ELSEWHERE)
    text = json.dumps(config, indent=2) + "\n"
    files.write_bytes(folder / PEFT_CONFIG, text.encode(), ELSEWHERE)


def load_peft(folder: Path, lm: FrozenModel) -> SoftPrompt:
    """Read a PEFT checkpoint of a soft prompt of `lm`; one written by PEFT itself is a `prefix`.

    Raises:
        UsageError: what `read_peft` refuses, or a prompt for another model or of another size.
    """
    prompt = read_peft(folder)
    prompt.check_model(lm)
    return replace(prompt, embeddings=prompt.embeddings.to(lm.device))


def read_peft(folder: Path) -> SoftPrompt:
    """Read a PEFT checkpoint of prompt tuning or P-tuning, of whatever model, onto the CPU in float32.

    P-tuning makes its prompt with a network; the checkpoint holds what came out, and the network is not needed.
    A layer that was trained beside the prompt, as the head of a classifier, is left out, and a line says so.

    Raises:
        UsageError: files missing or damaged, another method (LoRA, prefix tuning ...), or values that are not
            finite.
    """
    folder = Path(folder)
    config = _peft_config(folder)
    tensors, metadata = _peft_tensors(folder)
    heads = [name for name in tensors if name != PEFT_KEY and _is_head(name, config)]
    tensors = {name: values for name, values in tensors.items() if name not in heads}
    embeddings = tensors.pop(PEFT_KEY, None)
    if embeddings is None or tensors:
        raise UsageError(
            f"{folder / PEFT_WEIGHTS} holds {', '.join(sorted(tensors)) or 'nothing'} besides "
            f"{PEFT_KEY!r}: a prompt-tuning checkpoint holds that tensor alone; save it with peft again"
            if embeddings is not None
            else f"{folder / PEFT_WEIGHTS} holds no tensor {PEFT_KEY!r}: give a prompt-tuning checkpoint of peft"
        )
    expected = (config.get("num_virtual_tokens"), config.get("token_dim"))
    if tuple(embeddings.shape) != expected:
        raise UsageError(
            f"{folder}: the prompt has shape {tuple(embeddings.shape)}, but {PEFT_CONFIG} says {expected}: "
            "take both files from the same checkpoint"
        )
    name = metadata.get("model") or str(config.get("base_model_name_or_path") or "")
    position, fingerprint = metadata.get("position", "prefix"), metadata.get("fingerprint", "")
    if not embeddings.is_floating_point():
        raise UsageError(
            f"{folder / PEFT_WEIGHTS} holds a prompt of dtype {embeddings.dtype}: vectors of floating-point numbers "
            "are needed; save the checkpoint with peft again"
        )
    embeddings = without_front(embeddings, metadata.get(FRONT, "0"), folder / PEFT_WEIGHTS)
    prompt = SoftPrompt(embeddings.float(), position, name, fingerprint)
    if heads:
        say(
            f"{folder}: {', '.join(sorted(heads))} is left out: a layer of the model that was trained beside the "
            "prompt, which belongs to that model alone"
        )
    return prompt


def _is_head(name: str, config: Mapping[str, Any]) -> bool:
    """Whether a tensor is of a layer that PEFT trained and saved with the prompt (`modules_to_save`)."""
    layers = config.get("modules_to_save")
    return isinstance(layers, list) and any(part in layers for part in name.split("."))


def _peft_config(folder: Path) -> Mapping[str, Any]:
    """adapter_config.json, which must be of a finished soft prompt for one transformer."""
    path = folder / PEFT_CONFIG
    try:
        with open_regular(path) as file:
            config = parse_json(file.read().decode())
    except OSError as err:
        raise UsageError(f"{path} cannot be read ({err.strerror}): give a folder saved by peft") from err
    except (ValueError, RecursionError) as err:
        raise UsageError(f"{path} is not JSON ({err}): save the checkpoint with peft again") from err
    method = config.get("peft_type") if isinstance(config, dict) else None
    if method not in FINISHED:
        what = OTHERS.get(method) if isinstance(method, str) else None
        raise UsageError(
            f"{folder} is a PEFT checkpoint of {method}{f' ({what})' if what else ''}: only PROMPT_TUNING is a soft "
            "prompt, and P_TUNING, which makes one; tune one of these"
        )
    parts = config.get("num_transformer_submodules")
    if parts not in (None, 1):
        raise UsageError(
            f"{folder} is a prompt for {parts} transformers (an encoder and a decoder): only models of one "
            "transformer are supported"
        )
    return config


def _peft_tensors(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of adapter_model.safetensors."""
    path = folder / PEFT_WEIGHTS
    if not path.exists():
        raise UsageError(
            f"{path} does not exist: save the checkpoint as safetensors, peft's default (a .bin file is not read)"
        )
    try:
        require_regular(path)
        return open_tensors(path)
    except (OSError, Damaged) as err:
        raise UsageError(f"{path} is damaged ({err}): save the checkpoint with peft again") from err
