"""What a model of any family has to do here: load, read embeddings as tokens, give right gradients, take a step.

from family_checks import check_family
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tiny_families import tiny_family
from tiny_models import tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import FuseAdapterModule
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.classifier import SequenceClassifier
from fuse_repro.models.clip import ClipDualEncoder
from fuse_repro.models.image_text import ImageTextEncoder
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.models.metering import metering
from fuse_repro.models.siglip import SiglipDualEncoder
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.objectives import (
    ClassifierTerm,
    FluencyTerm,
    ImageMatchTerm,
    MultiObjectiveLoss,
    TextMatchTerm,
)
from fuse_repro.search import AutoDAN, PromptProblem
from fuse_repro.tasks.layout import Layout
from fuse_repro.tasks.reader import PlainReader, make_reader

WORDS = tuple(dict.fromkeys(word for sentence in SENTENCES for word in sentence.split()))
TEXTS = ("a cat on a table", "a dog")
WRAPPERS = {
    "causal": CausalLM,
    "masked": MaskedLM,
    "encoder": TextEncoder,
    "classifier": SequenceClassifier,
    "image-text": ImageTextEncoder,
}
SPECIAL = {"clip": ClipDualEncoder, "siglip": SiglipDualEncoder}


def save_family(kind: str, family: str, folder: Path) -> None:
    """Write a tiny model of a family as published ones are. Raises tiny_families.NotShrunk."""
    model, tokenizer = tiny_family(kind, family)
    model.save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    if kind == "image-text":
        from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

        vision = getattr(model.config, "vision_config", None) or model.config.image_config
        size = int(getattr(vision, "image_size", 32))
        if family == "siglip":
            SiglipImageProcessorPil(size={"height": size, "width": size}).save_pretrained(folder)
        else:
            CLIPImageProcessorPil(
                size={"shortest_edge": size}, crop_size={"height": size, "width": size}
            ).save_pretrained(folder)


def load_family(kind: str, family: str, folder: Path) -> Any:
    """The wrapper of a saved model. Raises UsageError for one that is refused."""
    wrapper: Any = SPECIAL.get(family, ImageTextEncoder) if kind == "image-text" else WRAPPERS[kind]
    return wrapper.load(f"tiny_{family}", "path", path=folder)


def check_family(kind: str, model: FrozenModel) -> Iterator[str]:
    """Runs one check after another; yields the name of each that the model has passed."""
    for name, check in CHECKS[kind].items():
        check(model)
        yield name


def embeddings_are_those_of_the_tokens(model: Any) -> None:
    """The model reads `embed(ids)` as it reads ids; the load has checked it, with more room for rounding."""
    ids = torch.tensor([model.whole_ids(TEXTS[0])])
    table = model.embedding_table()
    assert torch.equal(model.embed(ids), table[ids]), "the table holds other embeddings than the model reads"
    with torch.no_grad(), metering() as meter:
        own = model.model(input_ids=ids)[0]
        given = model.model(inputs_embeds=model.embed(ids))[0]
    _close(given, own, "embeddings are read otherwise than tokens")
    assert meter.flops > 0, "its arithmetic is not counted"


def padding_changes_nothing(model: Any) -> None:
    """Two texts of different lengths, alone and together with junk behind the shorter one."""
    ids = [_content(model, text) for text in TEXTS]
    size = max(map(len, ids))
    padded = torch.tensor([[*row, *[row[-1]] * (size - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (size - len(row)) for row in ids])
    with torch.no_grad():
        together = model(model.embed(padded), mask)
        for row, tokens in enumerate(ids):
            alone = model(model.embed(torch.tensor([tokens])), torch.ones(1, len(tokens)))
            found = together[row : row + 1]
            _close(found[:, : len(tokens)] if found.ndim == 3 else found, alone, "padding changes it")


def gradient_is_right(model: Any) -> None:
    """Along a random direction the gradient is the slope, in float64 where the model allows it."""
    if hasattr(model.model, "set_experts_implementation"):
        model.model.set_experts_implementation("eager")  # the fast one knows no float64
    model.double()
    try:
        _check_slope(model, torch.float64, steps=(1e-4, 1e-5, 1e-6))
        return
    except RuntimeError:  # layers that compute in float32 whatever comes in
        pass
    finally:
        model.float()
    _check_slope(model, torch.float32, steps=(1e-2, 1e-3))


def _check_slope(model: Any, dtype: torch.dtype, steps: tuple[float, ...]) -> None:
    """One of the steps has to agree: a long one meets curvature, a short one the rounding of inner float32 layers."""
    ids = torch.tensor([_content(model, TEXTS[0])])
    mask = torch.ones_like(ids)
    start = model.embed(ids).to(dtype)
    weights = torch.randn(model(start, mask).shape, generator=torch.manual_seed(1), dtype=dtype)

    def value(embeddings: torch.Tensor) -> torch.Tensor:
        return (model(embeddings, mask).to(dtype) * weights).sum()

    leaf = start.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    assert gradient.isfinite().all(), "the gradient is not finite"
    assert (gradient != 0).any(), "the gradient is zero"
    direction = torch.randn(start.shape, generator=torch.manual_seed(2), dtype=dtype)
    found = (gradient * direction).sum()
    scale = gradient.norm() * direction.norm()
    slopes = []
    for step in steps:
        with torch.no_grad():
            slope = (value(start + step * direction) - value(start - step * direction)) / (2 * step)
        if (found - slope).abs() <= 0.02 * slope.abs() + 2e-3 * scale:
            return
        slopes.append(f"{float(slope):.4g}")
    raise AssertionError(f"the gradient is not the slope ({float(found):.4g}, not {' or '.join(slopes)})")


def memory_changes_nothing(lm: Any) -> None:
    """Rows that go on from one prefix, in any order and twice, as if each were read whole."""
    ids = torch.tensor([_content(lm, TEXTS[0])])
    state = lm.start(ids[:, :3])
    for number, tokens in enumerate((torch.tensor([5, 6, 7]), torch.tensor([7, 8, 9]))):
        found = state.advance(torch.tensor([0, 0, 0]), tokens)
        deeper = found.advance(torch.tensor([2, 0]), torch.tensor([11, 12]))
        whole = torch.tensor(
            [[*ids[0, :3].tolist(), int(tokens[2]), 11], [*ids[0, :3].tolist(), int(tokens[0]), 12]]
        )
        with torch.no_grad():
            expected = lm(lm.embed(whole))[:, -1].float().log_softmax(-1)
        _close(deeper.log_probs, expected, f"its memory changes what comes next (time {number + 1})")


def a_search_step(lm: Any) -> None:
    """One step of the search that captions are made with."""
    objective = MultiObjectiveLoss({"fluency": FluencyTerm(lm)}, {"fluency": 1.0})
    problem = PromptProblem(lm, objective, "An image of", {})
    found = AutoDAN(candidates=8, beam=2, max_new_tokens=1, stop="never").search(problem)
    assert torch.tensor(found.best.objective).isfinite(), "the objective is not finite"


def a_tuning_step(lm: Any) -> None:
    """A soft prompt's gradient, behind and before the text, by the fastest reader and by the plain one."""
    for position in ("postfix", "prefix"):
        layout = Layout(lm, position, 3)
        rows = layout.rows(TEXTS)
        prompt = lm.embed(torch.tensor([5, 6, 7])).detach().clone()
        seen = []
        for reader in (make_reader(layout, rows), PlainReader(lm, rows)):
            leaf = prompt.clone().requires_grad_(True)
            logits = reader.logits([0, 1], leaf)
            logits.float().log_softmax(-1)[:, 9].sum().backward()
            assert leaf.grad is not None
            assert leaf.grad.isfinite().all(), "the prompt's gradient is not finite"
            assert (leaf.grad != 0).any(), "the prompt has no gradient"
            seen.append(logits.detach())
        _close(seen[0], seen[1], f"texts read once and texts read again differ ({position})")
        _close(seen[1], _plainly(lm, rows, prompt), f"logits at the answer differ ({position})")


def a_step_as_secondary(model: Any) -> None:
    """One step of a search over another model's prompt, by a map between the two."""
    lm = _primary()
    adapter = FuseAdapterModule.fit(lm, model, WORDS, max_tokens=2, words_per_length=60, ridge=0.01)
    targets = {}
    if isinstance(model, SequenceClassifier):
        term: Any = ClassifierTerm("other", model, adapter, label=model.labels[0])
    else:
        images = hasattr(model, "encode_images")
        term = (ImageMatchTerm if images else TextMatchTerm)("other", model, adapter)
        picture = Image.effect_noise((48, 40), 80).convert("RGB")
        targets = {"other": model.encode_images([picture])[0] if images else model.encode(["a cat"])[0]}
    objective = MultiObjectiveLoss(
        {"fluency": FluencyTerm(lm), "other": term}, {"fluency": 1.0, "other": 5.0}
    )
    found = AutoDAN(candidates=8, beam=2, max_new_tokens=1, stop="never").search(
        PromptProblem(lm, objective, "An image of", targets)
    )
    assert torch.tensor(found.best.objective).isfinite(), "the objective is not finite"


def texts_are_read_as_their_embeddings(model: Any) -> None:
    """`encode`, which reads texts of equal length together, and `forward`, which is differentiable."""
    ids = _content(model, TEXTS[0])
    with torch.no_grad():
        forward = model(model.embed(torch.tensor([ids])), torch.ones(1, len(ids)))
    _close(model.encode([TEXTS[0]]), forward, "encode and forward differ")


LANGUAGE: dict[str, Callable[[Any], None]] = {
    "embeddings": embeddings_are_those_of_the_tokens,
    "padding": padding_changes_nothing,
    "gradient": gradient_is_right,
    "tuning step": a_tuning_step,
}
TEXT: dict[str, Callable[[Any], None]] = {
    "embeddings": texts_are_read_as_their_embeddings,
    "padding": padding_changes_nothing,
    "gradient": gradient_is_right,
    "search step": a_step_as_secondary,
}
CHECKS = {
    "causal": {**LANGUAGE, "memory": memory_changes_nothing, "search step": a_search_step},
    "masked": LANGUAGE,
    "encoder": TEXT,
    "classifier": TEXT,
    "image-text": TEXT,
}


def _content(model: Any, text: str) -> list[int]:
    """What the model's `forward` takes of a text: content tokens for encoders, the whole text for language models."""
    if isinstance(model, TextEncoder):
        return list(model.tokenizer.encode([text])[0])
    return list(model.whole_ids(text))


def _plainly(lm: Any, rows: Any, prompt: torch.Tensor) -> torch.Tensor:
    """Logits at the answers, one row after the other, through the whole model."""
    found = []
    for row in rows:
        ids = torch.tensor([token if token >= 0 else 0 for token in row.ids])
        embeddings = lm.embed(ids).clone()
        places = [place for place, token in enumerate(row.ids) if token < 0]
        embeddings[places] = prompt
        with torch.no_grad():
            found.append(lm(embeddings[None])[0, row.answer])
    return torch.stack(found)


def _close(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    assert found.shape == expected.shape, f"{what}: shapes {tuple(found.shape)} and {tuple(expected.shape)}"
    assert found.isfinite().all(), f"{what}: not finite"
    error = float(
        (found.float() - expected.float()).abs().max() / expected.float().abs().max().clamp_min(1e-6)
    )
    assert error < 1e-3, f"{what}: by {error:.2g} of the largest"


@cache
def _primary() -> CausalLM:
    return tiny_gpt2()
