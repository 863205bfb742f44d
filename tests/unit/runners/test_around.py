"""Soft vectors in place of a template's words: the start is the manual prompt, and tuning never ends worse on dev."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_joint_tuning import ARTICLES, WORDS, results
from test_prompt_tuning import adam
from tiny_masked_lms import ARCHITECTURES, tiny_lm

from fuse_repro.errors import UsageError
from fuse_repro.prompts import SoftPrompt, around, before_text, for_model, load_peft, save_peft, template_ids
from fuse_repro.runners.transfer.joint import Wanted, tuned_together
from fuse_repro.runners.transfer.placing import place_of
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.tuning import initial_prompt, tune
from fuse_repro.runners.transfer.tuning_module import changed
from fuse_repro.tasks import Layout, answer_log_probs, evaluate

SETTINGS = PromptTuning(
    m=None,
    position="template",
    init="template",
    torch_optimizer=adam(0.2),
    spread_lr=True,
    noise=0.1,
    keep_start=True,
    max_steps=8,
    batch_size=4,
    evaluate_every=2,
)
TEMPLATES = ["An old [X] in the [Y] .", "[X] is in the [Y] .", "The red lake of [X] [Y] ."]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_start_is_read_as_the_manual_prompt(architecture: str, template: str) -> None:
    lm, task = tiny_lm(architecture), replace(ARTICLES, template=template)
    place = place_of(lm, task, SETTINGS)
    texts = ["France", "a cat", "the old bridge"]
    prompt = initial_prompt(lm, task, SETTINGS)
    assert prompt.shape == (place.length, lm.embedding_size)
    soft = Layout(lm, place.position, place.length).rows(texts)
    manual = Layout.of(lm, template).rows(texts)
    every = torch.arange(lm.tokenizer.vocab_size)
    one, other = answer_log_probs(lm, soft, prompt, every), answer_log_probs(lm, manual, None, every)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_tuned_prompt_is_never_worse_on_dev_than_the_manual_one(architecture: str) -> None:
    lm = tiny_lm(architecture)
    far = replace(SETTINGS, torch_optimizer=adam(500.0))
    found = tune(lm, WORDS, far)
    manual = evaluate(lm, WORDS.template, WORDS, "dev")
    own = evaluate(lm, found.prompt, WORDS, "dev")
    assert own.accuracy == pytest.approx(found.dev_accuracy)
    assert (own.accuracy, -own.loss) >= (manual.accuracy, -manual.loss - 1e-6)


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
def test_prompts_of_one_task_are_tuned_together_as_one_by_one(architecture: str, tmp_path: Path) -> None:
    lm = tiny_lm(architecture)
    tasks = [ARTICLES, replace(ARTICLES, template="[Y] of [X] .", name="turned")]
    wanted = [Wanted(task, replace(SETTINGS, seed=seed)) for task in tasks for seed in (0, 1)]
    *group, refused, _ = tuned_together(lm, wanted, tmp_path)
    for one, result in zip(wanted, results(group), strict=False):
        alone = tune(lm, one.task, one.settings)
        assert result.prompt.position == alone.prompt.position == around(0)
        assert result.dev_accuracy == alone.dev_accuracy
        torch.testing.assert_close(result.prompt.embeddings, alone.prompt.embeddings, atol=1e-4, rtol=1e-4)
    assert isinstance(refused, UsageError)
    assert "[X] before [Y]" in str(refused)


def test_noise_depends_on_the_seed_and_the_step_alone() -> None:
    prompt = torch.ones(3, 4)
    drawn = [
        changed(prompt, replace(SETTINGS, seed=seed), step, 2.0)
        for seed, step in ((0, 1), (0, 1), (0, 2), (1, 1))
    ]
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])
    assert not drawn[0].equal(drawn[3])
    twice = changed(prompt, SETTINGS, 1, 4.0) - prompt
    torch.testing.assert_close(twice, 2 * (drawn[0] - prompt))
    assert changed(prompt, replace(SETTINGS, noise=0.0), 1, 2.0) is prompt


def test_the_learning_rate_counts_in_the_spread_of_the_embeddings() -> None:
    weight = [torch.nn.Parameter(torch.zeros(1))]
    optimizer, _ = replace(SETTINGS, schedule=None).steps_of(weight, 1, 0.25)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    optimizer, _ = replace(SETTINGS, schedule=None, spread_lr=False).steps_of(weight, 1, 0.25)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


def test_a_file_keeps_the_place(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    prompt = for_model(lm, torch.randn(3, lm.embedding_size), around(2))
    save_peft(prompt, tmp_path / "prompt", lm)
    read = load_peft(tmp_path / "prompt", lm)
    assert read.position == "around:2"
    assert before_text(read.position) == 2
    assert read.embeddings.equal(prompt.embeddings)


@pytest.mark.parametrize("position", ["around:4", "around:", "around:-1", "around:x", "around"])
def test_a_place_that_is_none_is_refused(position: str) -> None:
    with pytest.raises(UsageError, match=r"position=.*around:N with N of at most 3"):
        SoftPrompt(torch.zeros(3, 4), position)


@pytest.mark.parametrize(
    ("template", "line"),
    [("[Y] is in [X]", r"\[X\] before \[Y\]"), ("[X] [Y] .", r"words before or behind \[X\]")],
)
def test_a_template_without_places_is_refused(template: str, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        template_ids(tiny_lm("gpt2"), template)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"m": 5}, "optimizer.m=5"),
        ({"position": "postfix"}, "optimizer.m=None"),
        ({"noise": -1.0}, "optimizer.noise=-1.0"),
        ({"position": "around"}, "postfix, after_bos, template"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(change: dict[str, object], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        replace(SETTINGS, **change)
