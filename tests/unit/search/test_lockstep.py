"""Searches side by side find what each finds alone: to the last bit where models read every row by itself."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from one_by_one import row_by_row, text_by_text
from tiny_models import tiny_bert_encoder, tiny_clip, tiny_gpt2
from tiny_tokenizers import SENTENCES
from torch import Tensor, nn

from fuse_repro.adapters import FuseAdapterModule, LookupMap
from fuse_repro.errors import UsageError
from fuse_repro.models.metering import metering
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.objectives import (
    FluencyTerm,
    MultiObjectiveLoss,
    PromptBatch,
    SecondaryFluencyTerm,
    TextMatchTerm,
)
from fuse_repro.search import GCG, AutoDAN, Linearisation, PromptProblem
from fuse_repro.search.lockstep import Ended, searched

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TARGETS = ("A cat on a table.", "A red boat near the old harbour.", "Two dogs run.")
FEW = Linearisation("random", count=4, joining=2)
BASE = AutoDAN(candidates=8, beam=2, max_new_tokens=5, patience=1, linearisation=FEW)
POINTS: dict[str, Any] = {"calibrated": True, "zeroth": "context"}
SEARCHES = {
    "default": replace(BASE, **POINTS),
    "paper": replace(BASE, linearisation=Linearisation("dummy", "!"), stop="never"),
    "points of the language model": replace(BASE, linearisation=Linearisation("likely", count=3)),
    "uniform cost": replace(BASE, frontier="uniform_cost", max_new_tokens=3),
    "without gradients": replace(BASE, gradient_weight=0.0),
    "few evaluations": replace(BASE, max_evaluations=40),
    "few operations": replace(BASE, **POINTS, max_flops=7e7),
}


class WordsTerm(nn.Module):
    """A term of somebody else's: how many words a prompt has."""

    def forward(self, batch: PromptBatch) -> Tensor:
        return torch.tensor([float(len(text.split())) for text in batch.texts])


def problems(
    encoder: TextEncoder, exact: bool = True, fluency: float = 1.0, more: bool = False
) -> list[PromptProblem]:
    lm = tiny_gpt2()
    if exact:
        lm, encoder = text_by_text(lm), row_by_row(encoder)
    terms: dict[str, nn.Module] = {"fluency": FluencyTerm(lm)}
    terms["text"] = TextMatchTerm("text", encoder, LookupMap.fit(lm, encoder))
    if more:
        second = tiny_gpt2(seed=3)
        terms["second"] = SecondaryFluencyTerm("second", second, FuseAdapterModule.fit(lm, second, WORDS))
        terms["words"] = WordsTerm()
    objective = MultiObjectiveLoss(terms, {"fluency": fluency, "text": 20.0})
    term = objective.terms["text"]
    return [PromptProblem(lm, objective, "An image of", {"text": term.target(text)}) for text in TARGETS]


def one_by_one(search: AutoDAN, wanted: list[PromptProblem]) -> list[Ended]:
    found = []
    for number, problem in enumerate(wanted):
        (ended,) = searched(search, [problem])
        found.append(replace(ended, number=number))
    return found


def together(search: AutoDAN, wanted: list[PromptProblem]) -> list[Ended]:
    return sorted(searched(search, wanted), key=lambda ended: ended.number)


def assert_equal(found: list[Ended], expected: list[Ended]) -> None:
    for got, alone in zip(found, expected, strict=True):
        if isinstance(alone.outcome, UsageError):
            assert str(got.outcome) == str(alone.outcome)
        else:
            assert got.outcome == alone.outcome
        assert got.cost == alone.cost


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_side_by_side_are_those_one_by_one_to_the_last_bit(name: str) -> None:
    """Prompts, values, steps, and what each costs: though some end earlier than others."""
    wanted, search = problems(tiny_bert_encoder()), SEARCHES[name]
    expected = one_by_one(search, wanted)
    assert_equal(together(search, wanted), expected)
    assert len({ended.found().best.text for ended in expected}) > 1
    if name in ("default", "few operations"):
        assert len({len(ended.found().steps) for ended in expected}) > 1


@pytest.mark.parametrize("kind", ["no fluency", "further terms", "clip"])
def test_they_are_whatever_the_objective_holds(kind: str) -> None:
    """A term that does not know of company computes each search's values by itself."""
    encoder = tiny_clip() if kind == "clip" else tiny_bert_encoder()
    wanted = problems(encoder, fluency=float(kind != "no fluency"), more=kind == "further terms")
    search = replace(SEARCHES["default"], max_new_tokens=3)
    assert_equal(together(search, wanted), one_by_one(search, wanted))


def test_with_batches_as_they_are_they_are_equal_to_rounding() -> None:
    wanted, search = problems(tiny_bert_encoder(), exact=False), SEARCHES["default"]
    for got, alone in zip(together(search, wanted), one_by_one(search, wanted), strict=True):
        assert [[h.text for h in beam] for beam in got.found().steps] == [
            [h.text for h in beam] for beam in alone.found().steps
        ]
        values = [[[h.objective for h in beam] for beam in one.found().steps] for one in (got, alone)]
        for beam, expected in zip(*values, strict=True):
            assert beam == pytest.approx(expected, abs=1e-5)
        assert got.cost == alone.cost


UNREADABLE = "\ud83d"  # half a character


def test_a_search_that_fails_leaves_the_others_as_they_are() -> None:
    """One fails before its first pass, one in the middle of it: its prompts grow too long for the encoder."""
    wanted = problems(tiny_clip())
    wanted.append(replace(wanted[1], targets={"text": -wanted[1].targets["text"]}))
    wanted[0] = replace(wanted[0], prefix=UNREADABLE)
    wanted[2] = replace(wanted[2], prefix="A" + " dog" * 35)
    search = replace(SEARCHES["default"], stop="never")
    expected = one_by_one(search, wanted)
    assert [isinstance(ended.outcome, UsageError) for ended in expected] == [True, False, True, False]
    assert "too long" in str(expected[2].outcome)
    assert expected[2].cost["flops"] > 0
    assert_equal(together(search, wanted), expected)


def test_forward_passes_are_shared() -> None:
    """Both models make about as many as the longest search needs; a whole count is what all would cost alone."""
    wanted, search = problems(tiny_bert_encoder(), exact=False), replace(SEARCHES["default"], stop="never")
    passes = {"lm": 0, "encoder": 0}

    def note(name: str) -> Any:
        def hook(*_: Any) -> None:
            passes[name] += 1

        return hook

    wanted[0].lm.model.register_forward_hook(note("lm"))
    wanted[0].objective.terms["text"].encoder.model.register_forward_hook(note("encoder"))
    counted = []
    for run in (one_by_one, together):
        passes |= {"lm": 0, "encoder": 0}
        with metering() as whole:
            run(search, wanted)
        counted.append((dict(passes), whole.cost()))
    (alone, cost), (shared, same_cost) = counted
    assert shared["lm"] == alone["lm"] / 3 + 2, "only what a search makes of the prefix is its own"
    assert shared["encoder"] < 0.6 * alone["encoder"]
    assert same_cost == cost


def test_a_company_that_does_not_fit_in_memory_is_halved(capsys: pytest.CaptureFixture[str]) -> None:
    wanted, search = problems(tiny_bert_encoder()), replace(SEARCHES["default"], stop="never")
    expected = one_by_one(search, wanted)
    encoder = wanted[0].objective.terms["text"].encoder
    pool, sizes = encoder._pool, []

    def tight(embeddings: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is not None:  # the pass with gradients
            sizes.append(len(embeddings))
            if len(embeddings) > 12:
                raise torch.OutOfMemoryError("out of memory")
        return pool(embeddings, lengths)

    encoder._pool = tight
    assert_equal(together(search, wanted), expected)
    assert max(sizes) == sizes[0] == 3 * 6
    assert sorted(sizes)[-2] == 12
    said = "tiny_gpt2: memory holds a batch of 1 linearised beams (3 were too many)"
    assert said in capsys.readouterr().err


def test_a_search_that_asks_nobody_runs_one_by_one() -> None:
    wanted = problems(tiny_bert_encoder(), exact=False)[:2]
    search = GCG(tokens=3, candidates=4, top_k=10, steps=2)
    found = list(searched(search, [wanted[0], replace(wanted[1], prefix=UNREADABLE), wanted[1]]))
    assert [ended.found() for ended in (found[0], found[2])] == [search.search(problem) for problem in wanted]
    assert isinstance(found[1].outcome, UsageError)
    assert found[0].cost["flops"] > 0
