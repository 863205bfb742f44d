"""Prompts tuned together are those tuned one by one; each stops for itself, and a stopped group goes on exactly."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from tiny_masked_lms import tiny_lm

from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.transfer import joint
from fuse_repro.runners.transfer.checkpoints import LAST
from fuse_repro.runners.transfer.joint import Wanted, tuned_together
from fuse_repro.runners.transfer.joint_module import JointTuningModule
from fuse_repro.runners.transfer.kept import TuningResult
from fuse_repro.runners.transfer.prompts import TunedPrompts
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.trainer import AT_MOST, Together, check_together, together
from fuse_repro.runners.transfer.tuning import tune, tuning_result
from fuse_repro.runs.observers import Observers


def items(*pairs: str) -> tuple[Item, ...]:
    return tuple(Item(*pair.rsplit(" ", 1)) for pair in pairs)


ARTICLES = PromptTask(
    "articles",
    ("a", "the", "of", "wine and cheese"),
    {
        "train": items("France a", "Japan the", "a cat a", "old dog the", "the red wine a", "bridge the"),
        "dev": items("lake a", "an image the", "kite a"),
        "test": items("Paris a", "Tokyo the"),
    },
    "[X] is [Y] .",
)
WORDS = PromptTask(
    "words",
    ("a", "of", "the"),
    {
        "train": items("red a", "the old of", "a a a lake the", "wine a", "bridge of", "in the rain the")
        + items("Paris a", "table of", "kite the", "the evening light a", "train of"),
        "dev": items("France a", "Japan of", "coffee the", "an old bridge in the evening light a"),
        "test": items("image a"),
    },
    "[X] and [Y] .",
)
NONE = replace(ARTICLES, name="none", splits={**ARTICLES.splits, "dev": ()})
ADAM = {"_target_": "torch.optim.Adam", "lr": 0.05}
SETTINGS = PromptTuning(
    m=3, torch_optimizer=ADAM, max_steps=16, batch_size=4, evaluate_every=2, patience=100, together=4
)
WANTED = [(task, seed) for task in (ARTICLES, WORDS) for seed in (0, 1)]


def wanted(settings: PromptTuning = SETTINGS, pairs: Any = WANTED) -> list[Wanted]:
    return [Wanted(task, replace(settings, seed=seed)) for task, seed in pairs]


def results(found: list[Any]) -> list[TuningResult]:
    assert all(isinstance(one, TuningResult) for one in found), found
    return found


@pytest.fixture(scope="module")
def whole_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[TuningResult]]:
    """WANTED tuned together by SETTINGS and this patience, in one go."""

    @cache
    def made(architecture: str, patience: int = SETTINGS.patience) -> list[TuningResult]:
        settings = replace(SETTINGS, patience=patience)
        return results(
            tuned_together(tiny_lm(architecture), wanted(settings), tmp_path_factory.mktemp("whole"))
        )

    return made


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "prompts").glob("[!.]*")}


@pytest.mark.parametrize("objective", ["vocabulary", "answers"])
@pytest.mark.parametrize("position", ["prefix", "postfix"])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "albert", "gpt2", "llama"])
def test_together_is_one_by_one(architecture: str, position: str, objective: str, tmp_path: Path) -> None:
    """Tasks of different sizes, so that epochs, looks at dev and ends fall on different steps."""
    lm = tiny_lm(architecture)
    target = "fuse_repro.objectives.AnswerCrossEntropyTerm"
    node = {"answer": {"_target_": target, "weight": 1.0, "model": "lm", "candidates": objective}}
    settings, pairs = replace(SETTINGS, position=position, objective=node), [(ARTICLES, 0), (WORDS, 1)]
    found = results(tuned_together(lm, wanted(settings, pairs), tmp_path))
    for (task, seed), result in zip(pairs, found, strict=True):
        alone = tune(lm, task, replace(settings, seed=seed))
        assert (result.dev_accuracy, result.steps) == (alone.dev_accuracy, alone.steps)
        assert result.prompt.position == position
        torch.testing.assert_close(result.prompt.embeddings, alone.prompt.embeddings, rtol=1e-3, atol=1e-4)
    assert len({result.steps for result in found}) == 2
    assert len(files(tmp_path)) == 2
    assert not any(path.is_dir() for path in (tmp_path / "prompts").iterdir())


def test_the_loss_and_dev_of_every_prompt_are_told_as_alone(tmp_path: Path) -> None:
    lm, told, alone = tiny_lm("llama"), [], []
    pairs = [(ARTICLES, 0), (WORDS, 1)]
    group = [
        replace(one, watch=lambda step, values, name=one.task.name: told.append((name, step, values)))
        for one in wanted(pairs=pairs)
    ]
    tuned_together(lm, group, tmp_path)
    for task, seed in pairs:
        settings = replace(SETTINGS, seed=seed)
        tune(
            lm, task, settings, watch=lambda step, values, name=task.name: alone.append((name, step, values))
        )
    for task, _ in pairs:
        here, there = ([row[1:] for row in rows if row[0] == task.name] for rows in (told, alone))
        assert [(step, *values) for step, values in here] == [(step, *values) for step, values in there]
        for (_, one), (_, other) in zip(here, there, strict=True):
            assert list(one.values()) == pytest.approx(list(other.values()), rel=1e-3)


def test_each_stops_when_its_own_dev_no_longer_improves(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    settings = replace(SETTINGS, max_steps=120, patience=2)
    found = results(tuned_together(lm, wanted(settings), tmp_path))
    alone = [tune(lm, task, replace(settings, seed=seed)) for task, seed in WANTED]
    assert [one.steps for one in found] == [one.steps for one in alone]
    assert len({one.steps for one in found}) > 1
    for one, other in zip(found, alone, strict=True):
        torch.testing.assert_close(one.prompt.embeddings, other.prompt.embeddings, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"torch_optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.05, "weight_decay": 0.3}},
        {"torch_optimizer": {"_target_": "torch.optim.SGD", "lr": 0.5, "momentum": 0.9}, "schedule": None},
        {"schedule": {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1}},
    ],
)
def test_any_optimiser_and_schedule(changes: dict, tmp_path: Path) -> None:
    lm, settings = tiny_lm("bert"), replace(SETTINGS, **changes)
    for (task, seed), one in zip(
        WANTED, results(tuned_together(lm, wanted(settings), tmp_path)), strict=True
    ):
        alone = tune(lm, task, replace(settings, seed=seed))
        torch.testing.assert_close(one.prompt.embeddings, alone.prompt.embeddings, rtol=1e-3, atol=1e-4)


def test_one_that_diverges_and_one_that_cannot_be_tuned_do_not_hurt_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm("llama")
    alone = [tune(lm, task, replace(SETTINGS, seed=seed)) for task, seed in WANTED]
    start = joint.initial_prompt

    def broken(lm: FrozenModel, task: PromptTask, settings: PromptTuning) -> torch.Tensor:
        return start(lm, task, settings) * (math.inf if (task.name, settings.seed) == ("words", 0) else 1.0)

    monkeypatch.setattr(joint, "initial_prompt", broken)
    pairs = [*WANTED, (NONE, 0)]
    found = tuned_together(lm, wanted(pairs=pairs), tmp_path)
    assert str(found[2]) == "tuning diverged (loss nan): lower optimizer.torch_optimizer.lr=0.05"
    assert str(found[4]).startswith("none has no dev item whose answer is one token of tiny-llama (of 0)")
    for number in (0, 1, 3):
        one = found[number]
        assert isinstance(one, TuningResult)
        torch.testing.assert_close(
            one.prompt.embeddings, alone[number].prompt.embeddings, rtol=1e-3, atol=1e-4
        )
    assert len(files(tmp_path)) == 3


class Stopped(Exception):
    """The process ends here."""


def stop_at(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Let a group's tuning fail at this step, as if it were killed."""
    step = JointTuningModule.training_step

    def dying(self: JointTuningModule, number: int, batch_idx: int) -> None:
        if self.current_epoch * self.epoch_steps + number == batch:
            raise Stopped
        step(self, number, batch_idx)

    monkeypatch.setattr(JointTuningModule, "training_step", dying)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
@pytest.mark.parametrize("batch", [1, 5, 11, 16])
def test_a_stopped_group_goes_on_to_the_same_bytes(
    architecture: str,
    batch: int,
    whole_of: Callable[..., list[TuningResult]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm, settings, whole = tiny_lm(architecture), replace(SETTINGS, patience=6), whole_of(architecture, 6)
    with monkeypatch.context() as context:
        stop_at(context, batch)
        with pytest.raises(Stopped):
            tuned_together(lm, wanted(settings), tmp_path / "stopped")
    assert not files(tmp_path / "stopped")
    resumed = results(tuned_together(lm, wanted(settings), tmp_path / "stopped"))
    for one, other in zip(resumed, whole, strict=True):
        assert torch.equal(one.prompt.embeddings, other.prompt.embeddings)
        assert (one.dev_accuracy, one.steps) == (other.dev_accuracy, other.steps)
    assert not any(path.is_dir() for path in (tmp_path / "stopped" / "prompts").iterdir())


def test_a_group_stopped_while_it_is_kept_goes_on_to_the_same_bytes(
    whole_of: Callable[..., list[TuningResult]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four prompts are in the cache; the others come from the group's checkpoint, not from a smaller group."""
    lm, whole = tiny_lm("gpt2"), whole_of("gpt2")
    saved, save = [], joint.KeptPrompt.save

    def dying(self: joint.KeptPrompt, result: TuningResult) -> None:
        if len(saved) == 2:
            raise Stopped
        saved.append(self)
        save(self, result)

    with monkeypatch.context() as context:
        context.setattr(joint.KeptPrompt, "save", dying)
        with pytest.raises(Stopped):
            tuned_together(lm, wanted(), tmp_path / "stopped")
    resumed = results(tuned_together(lm, wanted(), tmp_path / "stopped"))
    for one, other in zip(resumed, whole, strict=True):
        assert torch.equal(one.prompt.embeddings, other.prompt.embeddings)
    assert len(files(tmp_path / "stopped")) == 4


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_a_damaged_checkpoint_is_said_and_the_group_starts_anew(
    content: bytes | None,
    whole_of: Callable[..., list[TuningResult]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lm, whole = tiny_lm("gpt2"), whole_of("gpt2")
    with monkeypatch.context() as context:
        stop_at(context, 10)
        with pytest.raises(Stopped):
            tuned_together(lm, wanted(), tmp_path / "stopped")
    (kept,) = (tmp_path / "stopped" / "prompts").glob(f".together-*/{LAST}")
    if content is None:
        checkpoint = torch.load(kept, weights_only=True)
        checkpoint["state_dict"]["prompts.0"] = torch.zeros(4, 32)
        torch.save(checkpoint, kept)
    else:
        kept.write_bytes(content)
    capsys.readouterr()
    resumed = results(tuned_together(lm, wanted(), tmp_path / "stopped"))
    printed = capsys.readouterr().err
    assert (printed.count("tuning starts anew"), printed.count("\n")) == (1, 1)
    assert torch.equal(resumed[3].prompt.embeddings, whole[3].prompt.embeddings)


def test_what_is_in_the_cache_is_not_tuned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone or together, the file is the same one."""
    lm = tiny_lm("bert")
    one = tuning_result(lm, ARTICLES, replace(SETTINGS, seed=1, together=1), tmp_path)
    before = files(tmp_path)
    found = results(tuned_together(lm, wanted(), tmp_path))
    assert torch.equal(found[1].prompt.embeddings, one.prompt.embeddings)
    assert before.items() <= files(tmp_path).items()
    monkeypatch.setattr(joint, "_tune", lambda *_: pytest.fail("tuned again"))
    again = results(tuned_together(lm, wanted(), tmp_path))
    assert [result.seconds for result in again] == [result.seconds for result in found]


def test_prompts_that_do_not_fit_in_memory_together_are_cut_into_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = tiny_lm("gpt2")
    alone = [tune(lm, task, replace(SETTINGS, seed=seed)) for task, seed in WANTED]
    gradients = torch.autograd.grad

    def small(value: torch.Tensor, prompts: Any) -> Any:
        if len(prompts) > 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return gradients(value, prompts)

    monkeypatch.setattr(torch.autograd, "grad", small)
    found = results(tuned_together(lm, wanted(), tmp_path))
    for one, other in zip(found, alone, strict=True):
        torch.testing.assert_close(one.prompt.embeddings, other.prompt.embeddings, rtol=1e-3, atol=1e-4)
    said = "tiny-gpt2: memory holds a batch of 1 tuned prompts (2 were too many)"
    assert capsys.readouterr().err.count(said) == 1


def test_texts_whose_keys_and_values_take_too_much_are_tuned_in_smaller_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, groups, made = tiny_lm("gpt2"), [], joint.joint_module
    monkeypatch.setattr(
        joint, "joint_module", lambda lm, group, ready: groups.append(len(group)) or made(lm, group, ready)
    )
    monkeypatch.setattr(joint, "_budget", lambda device: 30_000)
    results(tuned_together(lm, wanted(), tmp_path))
    assert groups == [2, 2]


def table(tmp_path: Path, settings: PromptTuning, trainer: dict | None = None) -> TunedPrompts:
    return TunedPrompts(settings, tmp_path, Observers(), DictConfig(trainer or {}))


def test_a_table_tunes_the_prompts_of_each_model_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, groups, made = tiny_lm("gpt2"), tiny_lm("bert"), [], joint.joint_module
    monkeypatch.setattr(
        joint,
        "joint_module",
        lambda lm, group, ready: groups.append((lm.name, len(group))) or made(lm, group, ready),
    )
    prompts = table(tmp_path, replace(SETTINGS, max_steps=2, together=3))
    prompts.prepare((model, task, seed) for task, seed in [*WANTED, (NONE, 0)] for model in (one, other))
    assert groups == [("tiny-gpt2", 3), ("tiny-bert", 3)]  # the fourth is tuned alone: the fifth cannot be
    assert prompts.of(other, WORDS, 1).model == "tiny-bert"
    with pytest.raises(UsageError, match="none has no dev item"):
        prompts.of(one, NONE, 0)


def test_one_by_one_is_as_ever(tmp_path: Path) -> None:
    """Byte for byte: the file of a table with together=1 is that of a prompt tuned alone."""
    lm, settings = tiny_lm("llama"), replace(SETTINGS, together=1)
    table(tmp_path / "table", settings).prepare((lm, task, seed) for task, seed in WANTED)
    for task, seed in WANTED:
        alone = tuning_result(lm, task, replace(settings, seed=seed), tmp_path / "alone")
        found = tuning_result(lm, task, replace(settings, seed=seed), tmp_path / "table")
        assert torch.equal(found.prompt.embeddings, alone.prompt.embeddings)
    assert set(files(tmp_path / "alone")) == set(files(tmp_path / "table"))


def test_on_a_cpu_the_bytes_of_a_prompt_depend_on_no_other_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that shards of the tasks, merged, are the undivided run: by default the seeds of one task go together."""
    lm, groups, made = tiny_lm("gpt2"), [], joint.joint_module

    def watched(lm: FrozenModel, group: Any, ready: Any) -> JointTuningModule:
        groups.append([(one.task.name, one.settings.seed) for one, _ in group])
        return made(lm, group, ready)

    monkeypatch.setattr(joint, "joint_module", watched)
    default = replace(SETTINGS, together=None)
    everything, part = table(tmp_path / "all", default), table(tmp_path / "part", default)
    everything.prepare((lm, task, seed) for task, seed in WANTED)
    part.prepare((lm, WORDS, seed) for seed in (0, 1))
    assert groups == [
        [("articles", 0), ("articles", 1)],
        [("words", 0), ("words", 1)],
        [("words", 0), ("words", 1)],
    ]
    for seed in (0, 1):
        one, other = (prompts.of(lm, WORDS, seed).embeddings for prompts in (everything, part))
        assert torch.equal(one, other)


@pytest.mark.parametrize("value", [0, -3, "many", 2.5, True])
def test_how_many_is_a_whole_number(value: Any) -> None:
    with pytest.raises(
        UsageError, match=r"optimizer.together=.* is not allowed: a whole number of at least 1"
    ):
        PromptTuning(together=value)


def test_a_setting_for_one_prompt_is_kept_or_refused() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    default = replace(SETTINGS, together=None)
    assert together(default, cpu, {}) == Together(AT_MOST, of_one_task=True)
    assert together(default, cuda, None) == Together(AT_MOST)
    assert together(SETTINGS, cpu, None) == Together(4)
    plain = {"accelerator": "cpu", "callbacks": None, "logger": False, "precision": "bf16-mixed"}
    assert together(default, cuda, plain) == Together(AT_MOST)
    for setting in ({"gradient_clip_val": 1.0}, {"max_time": "00:01:00"}, {"precision": "16-mixed"}):
        assert together(default, cuda, setting) == Together(1)
        check_together(default, setting)
        check_together(replace(SETTINGS, together=1), setting)
        (name,) = setting
        with pytest.raises(
            UsageError, match=f"optimizer.together=4 is not allowed: 1 or null with trainer.{name}="
        ):
            check_together(SETTINGS, setting)
    check_together(SETTINGS, {"accumulate_grad_batches": 1})


@pytest.mark.gpu
@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_together_on_a_gpu_is_one_by_one_on_the_cpu(architecture: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_steps=6)
    alone = [tune(tiny_lm(architecture), task, replace(settings, seed=seed)) for task, seed in WANTED]
    found = results(tuned_together(tiny_lm(architecture).to("cuda"), wanted(settings), tmp_path))
    for one, other in zip(found, alone, strict=True):
        assert one.prompt.embeddings.device.type == "cuda"
        torch.testing.assert_close(one.prompt.embeddings.cpu(), other.prompt.embeddings, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_the_trainers_precision_acts_as_alone(architecture: str, tmp_path: Path) -> None:
    lm, settings = tiny_lm(architecture), replace(SETTINGS, max_steps=4)
    mixed = DictConfig({"inference_mode": False, "precision": "bf16-mixed"})
    found = results(tuned_together(lm, wanted(settings), tmp_path, mixed))
    full = results(tuned_together(lm, wanted(settings), tmp_path / "full"))
    for (task, seed), one, other in zip(WANTED, found, full, strict=True):
        alone = tune(lm, task, replace(settings, seed=seed), trainer=mixed)
        torch.testing.assert_close(one.prompt.embeddings, alone.prompt.embeddings, rtol=0, atol=0.02)
        assert not torch.equal(one.prompt.embeddings, other.prompt.embeddings)
