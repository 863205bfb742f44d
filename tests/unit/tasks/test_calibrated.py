"""Right answers with the answers' priors taken out: contextual calibration (Zhao et al. 2021)."""

from dataclasses import replace

import pytest
import torch
from tiny_masked_lms import ARCHITECTURES, tiny_lm

from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.prompts import for_model
from fuse_repro.tasks import Answers, Exams, Layout, answer_log_probs
from fuse_repro.tasks.evaluate import FREE

TEXTS = ("France a", "Japan the", "a cat a", "old dog the", "the red wine a", "bridge the")
TASK = PromptTask(
    "articles",
    ("a", "the", "of", "wine and cheese"),
    {"train": (), "dev": (), "test": tuple(Item(*text.rsplit(" ", 1)) for text in TEXTS)},
    "[X] is [Y] .",
)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_every_answer_has_without_a_text_is_taken_out(architecture: str, soft: bool) -> None:
    lm = tiny_lm(architecture)
    prompt = for_model(lm, torch.randn(3, lm.embedding_size)) if soft else TASK.template
    layout, vectors = Layout.of(lm, prompt), prompt.embeddings if soft else None
    answers = Answers.of(lm, TASK.answers)
    asked = answers.asked(TASK.splits["test"])
    rows = [layout.rows(texts) for texts in ([item.text for item, _ in asked], FREE)]
    own, free = (answer_log_probs(lm, part, vectors, answers.ids).exp() for part in rows)
    gold = torch.tensor([right[0] for _, right in asked])
    expected = ((own / free.mean(0)).argmax(1) == gold).float().mean()
    plain, found = (Exams(calibrated).ask(lm, prompt, TASK) for calibrated in (False, True))
    assert found.calibrated == pytest.approx(float(expected))
    assert replace(found, calibrated=None, loss=0.0) == replace(plain, loss=0.0)
    assert found.loss == pytest.approx(plain.loss, abs=1e-5)
    assert plain.calibrated is None


def test_answers_of_several_tokens_have_priors_too() -> None:
    lm, task = tiny_lm("gpt2"), replace(TASK, multi_token="whole")
    found = Exams(calibrated=True).ask(lm, task.template, task)
    assert found.candidates == len(TASK.answers)
    assert found.calibrated is not None
