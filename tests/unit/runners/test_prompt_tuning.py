"""Tuning: the loss falls in every architecture, only the prompt changes, a stopped run goes on exactly."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file
from small_disks import small_disk
from tiny_masked_lms import ARCHITECTURES, tiny_lm

from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.precision import MatmulPrecision
from fuse_repro.runners.transfer.checkpoints import BEST, LAST
from fuse_repro.runners.transfer.kept import TuningResult
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.trainer import make_trainer
from fuse_repro.runners.transfer.tuning import tune, tuned_prompt, tuning_module, tuning_result
from fuse_repro.runners.transfer.tuning_module import EpochOrder, PromptTuningModule
from fuse_repro.tasks import evaluate


def items(*pairs: str) -> tuple[Item, ...]:
    return tuple(Item(*pair.rsplit(" ", 1)) for pair in pairs)


TASK = PromptTask(
    "articles",
    ("a", "the", "of", "wine and cheese"),
    {
        "train": items("France a", "Japan the", "a cat a", "old dog the", "the red wine a", "bridge the"),
        "dev": items("lake a", "an image the", "kite a"),
        "test": items("Paris a", "Tokyo the"),
    },
    "[X] is [Y] .",
)


def adam(lr: float) -> dict[str, Any]:
    return {"_target_": "torch.optim.Adam", "lr": lr}


def warmup(share: float) -> dict[str, Any]:
    return {"_target_": "fuse_repro.runners.transfer.schedules.linear_warmup", "warmup": share}


SETTINGS = PromptTuning(
    m=3, torch_optimizer=adam(0.1), max_steps=24, batch_size=4, evaluate_every=2, patience=100
)


def answers(candidates: str) -> dict[str, Any]:
    target = "fuse_repro.objectives.AnswerCrossEntropyTerm"
    return {"answer": {"_target_": target, "weight": 1.0, "model": "lm", "candidates": candidates}}


@cache
def in_one_go(architecture: str) -> TuningResult:
    """TASK by SETTINGS; the model of an architecture has the same weights in every test."""
    return tune(tiny_lm(architecture), TASK, SETTINGS)


def weights_digest(lm: FrozenModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(lm.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("objective", ["vocabulary", "answers"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_loss_falls_and_the_model_stays(architecture: str, objective: str, tmp_path: Path) -> None:
    lm = tiny_lm(architecture)
    before = weights_digest(lm)
    module = tuning_module(lm, TASK, replace(SETTINGS, objective=answers(objective)))
    make_trainer(lm, module, tmp_path).fit(module)
    assert sum(module.losses[-4:]) < 0.9 * sum(module.losses[:4])
    assert weights_digest(lm) == before
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in lm.parameters())


@pytest.mark.parametrize("architecture", ["bert", "llama"])
@pytest.mark.parametrize("position", ["prefix", "postfix"])
def test_the_prompt_that_was_best_on_dev_is_given(architecture: str, position: str) -> None:
    lm = tiny_lm(architecture)
    result = tune(lm, TASK, replace(SETTINGS, position=position))
    assert result.prompt.position == position
    assert (result.prompt.model, result.prompt.fingerprint) == (lm.name, lm.fingerprint)
    assert evaluate(lm, result.prompt, TASK, "dev").accuracy == pytest.approx(result.dev_accuracy)
    assert result.steps == 24


def test_only_the_prompt_is_a_parameter_and_in_the_checkpoint(tmp_path: Path) -> None:
    lm = tiny_lm("albert")
    module = tuning_module(lm, TASK, replace(SETTINGS, max_steps=4))
    assert [name for name, _ in module.named_parameters()] == ["prompt"]
    make_trainer(lm, module, tmp_path).fit(module)
    kept = torch.load(tmp_path / LAST, weights_only=True)
    assert {name: tensor.shape for name, tensor in kept["state_dict"].items()} == {"prompt": (3, 20)}
    assert (tmp_path / LAST).stat().st_size < 20_000


@pytest.mark.parametrize("architecture", ["roberta", "gemma3"])
@pytest.mark.parametrize("stopped_after", [2, 6])
def test_a_stopped_run_goes_on_to_the_same_prompt(
    architecture: str, stopped_after: int, tmp_path: Path
) -> None:
    lm, whole = tiny_lm(architecture), in_one_go(architecture)
    module = tuning_module(lm, TASK, SETTINGS)

    class Stop(Exception):
        pass

    step = module.training_step

    def dying_step(numbers: Any, batch_idx: int) -> Any:
        if module.current_epoch == stopped_after and batch_idx == 1:
            raise Stop
        return step(numbers, batch_idx)

    module.training_step = dying_step  # type: ignore[method-assign]
    with pytest.raises(Stop):
        make_trainer(lm, module, tmp_path).fit(module)
    resumed = tune(lm, TASK, SETTINGS, tmp_path)
    assert torch.equal(resumed.prompt.embeddings, whole.prompt.embeddings)
    assert (resumed.dev_accuracy, resumed.steps) == (whole.dev_accuracy, whole.steps)
    last = torch.load(tmp_path / LAST, weights_only=True)["state_dict"]["prompt"]
    assert not torch.equal(last, module.prompt)


def test_another_optimiser_and_schedule_are_lines_of_yaml(tmp_path: Path) -> None:
    lm = tiny_lm("bert")
    cosine = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.2}
    adamw = {"_target_": "torch.optim.AdamW", "lr": 0.1, "weight_decay": 0.5}
    module = tuning_module(lm, TASK, replace(SETTINGS, torch_optimizer=adamw, schedule=cosine))
    trainer = make_trainer(lm, module, tmp_path)
    trainer.fit(module)
    assert isinstance(trainer.optimizers[0], torch.optim.AdamW)
    assert trainer.optimizers[0].param_groups[0]["weight_decay"] == 0.5
    assert trainer.lr_scheduler_configs[0].scheduler.total_steps == trainer.global_step == 24
    constant = tuning_module(lm, TASK, replace(SETTINGS, schedule=None, max_steps=4))
    trainer = make_trainer(lm, constant, tmp_path / "constant")
    trainer.fit(constant)
    assert trainer.lr_scheduler_configs == []


def test_a_further_term_joins_the_objective() -> None:
    lm = tiny_lm("llama")
    length = {"_target_": "fuse_repro.objectives.VectorLengthTerm", "weight": 100.0, "model": "lm"}
    free = in_one_go("llama").prompt.embeddings
    held = tune(lm, TASK, replace(SETTINGS, objective={**answers("vocabulary"), "length": length}))
    usual = lm.embedding_table().norm(dim=1).median()

    def off(vectors: torch.Tensor) -> float:
        return float((vectors.norm(dim=1) / usual).log().abs().mean())

    assert off(held.prompt.embeddings) < 0.3 * off(free)


def test_the_trainer_of_the_config_is_used_and_cannot_say_how_long(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    module = tuning_module(lm, TASK, SETTINGS)
    node = DictConfig(
        {
            "inference_mode": False,
            "precision": "bf16-mixed",
            "matmul": "highest",
            "callbacks": [{"_target_": "pytorch_lightning.Callback"}],
        }
    )
    trainer = make_trainer(lm, module, tmp_path, node)
    assert any(isinstance(callback, MatmulPrecision) for callback in trainer.callbacks)
    assert trainer.precision == "bf16-mixed"
    assert any(type(callback) is pytorch_lightning.Callback for callback in trainer.callbacks)
    said = "null: optimizer.max_steps"
    for name in ("max_steps", "max_epochs"):
        with pytest.raises(UsageError, match=f"trainer.{name}=7 is not allowed: {said}"):
            make_trainer(lm, module, tmp_path, DictConfig({name: 7}))


def test_losses_are_asked_of_the_device_once_between_looks_at_dev(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step waits for nothing; every loss is still told, in order, before the precision@1 that comes after it."""
    lm, told, asked = tiny_lm("gpt2"), [], []
    settings = replace(SETTINGS, max_steps=8, evaluate_every=4)
    module = tuning_module(lm, TASK, settings)
    module.watch = lambda step, values: told.append((step, *values))
    read = PromptTuningModule._read_losses
    monkeypatch.setattr(
        PromptTuningModule, "_read_losses", lambda self: (asked.append(self.global_step), read(self))
    )
    with monkeypatch.context() as context:
        context.setattr(torch.Tensor, "item", lambda self: pytest.fail("a step waits for the device"))
        module.training_step([0, 1], 0)
    module._unread.clear()
    make_trainer(lm, module, tmp_path).fit(module)
    losses = [[(step, "loss") for step in range(begin, begin + 4)] for begin in (0, 4)]
    assert told == [*losses[0], (4, "dev_accuracy"), *losses[1], (8, "dev_accuracy")]
    assert len(module.losses) == 8
    assert asked == [4, 8, 8]


def test_seeds_decide() -> None:
    lm = tiny_lm("gpt2")
    one, again, other = (tune(lm, TASK, replace(SETTINGS, max_steps=4, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(one.prompt.embeddings, again.prompt.embeddings)
    assert not torch.equal(one.prompt.embeddings, other.prompt.embeddings)


def test_it_stops_early_when_dev_no_longer_improves() -> None:
    lm = tiny_lm("bert")
    settings = replace(SETTINGS, torch_optimizer=adam(1e-12), max_steps=200, patience=2)
    assert tune(lm, TASK, settings).steps < 20


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch() -> None:
    order = EpochOrder(50, seed=3)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    order.set_epoch(0)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert list(order) == first


@pytest.mark.parametrize(("max_steps", "evaluate_every"), [(1, 1), (5, 2), (7, 3), (8, 100), (20, 7)])
def test_the_learning_rate_rises_and_falls_to_zero(
    max_steps: int, evaluate_every: int, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, max_steps=max_steps, evaluate_every=evaluate_every, schedule=warmup(0.3))
    module = tuning_module(tiny_lm("bert"), TASK, settings)
    rates = []
    step = module.training_step

    def watched(numbers: Any, batch_idx: int) -> Any:
        rates.append(module.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return step(numbers, batch_idx)

    module.training_step = watched  # type: ignore[method-assign]
    trainer = make_trainer(tiny_lm("bert"), module, tmp_path)
    trainer.fit(module)
    assert trainer.global_step == len(rates) >= max_steps
    assert 0 < min(rates) <= max(rates) <= 0.1
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_tuned_prompts_are_found_again(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    settings = replace(SETTINGS, max_steps=4)
    made = tuning_result(lm, TASK, settings, tmp_path)
    (file,) = (tmp_path / "prompts").glob("[!.]*")
    stamp = file.stat().st_mtime_ns
    found = tuning_result(lm, TASK, settings, tmp_path)
    assert file.stat().st_mtime_ns == stamp
    assert torch.equal(found.prompt.embeddings, made.prompt.embeddings)
    assert (found.dev_accuracy, found.steps, found.seconds) == (made.dev_accuracy, made.steps, made.seconds)
    file.write_bytes(b"damaged")
    again = tuned_prompt(lm, TASK, settings, tmp_path)
    assert torch.equal(again.embeddings, made.prompt.embeddings)
    assert torch.equal(load_file(file)["prompt"], made.prompt.embeddings)


def test_another_model_task_or_setting_is_another_prompt(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_steps=2)
    fewer = replace(TASK, splits={**TASK.splits, "train": TASK.splits["train"][:4]})
    tuned_prompt(tiny_lm("llama"), TASK, settings, tmp_path)
    tuned_prompt(tiny_lm("llama", seed=1), TASK, settings, tmp_path)
    tuned_prompt(tiny_lm("llama"), fewer, settings, tmp_path)
    tuned_prompt(tiny_lm("llama"), TASK, replace(settings, torch_optimizer=adam(0.2)), tmp_path)
    assert len(list((tmp_path / "prompts").glob("[!.]*"))) == 4


def test_a_stopped_cached_run_goes_on(tmp_path: Path) -> None:
    """Tuning fails after three steps, as if the process had been stopped, and is asked for again."""
    lm = tiny_lm("gpt2")
    settings = replace(SETTINGS, max_steps=12)
    whole = tuned_prompt(lm, TASK, settings)
    calls = 0

    class FailsOnce(type(lm.model)):  # type: ignore[misc]
        def forward(self, *arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 12:
                raise RuntimeError("stopped")
            return super().forward(*arguments, **more)

    lm.model.__class__ = FailsOnce
    with pytest.raises(RuntimeError, match="stopped"):
        tuned_prompt(lm, TASK, settings, tmp_path)
    (checkpoints,) = (path for path in (tmp_path / "prompts").iterdir() if path.is_dir())
    assert (checkpoints / LAST).exists()
    assert torch.equal(tuned_prompt(lm, TASK, settings, tmp_path).embeddings, whole.embeddings)
    assert not checkpoints.exists()


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*prompts: .*; choose a folder with cache_dir="):
        tuned_prompt(tiny_lm("bert"), TASK, SETTINGS, tmp_path / "file")


def test_what_cannot_be_tuned_is_one_clear_line() -> None:
    lm = tiny_lm("bert")
    none = replace(TASK, splits={**TASK.splits, "dev": items()})
    with pytest.raises(
        UsageError, match=r"articles has no dev item whose answer is one token of tiny-bert \(of 0\)"
    ):
        tune(lm, none, SETTINGS)
    with pytest.raises(
        UsageError, match=r"tuning diverged \(loss nan\): lower optimizer.torch_optimizer.lr="
    ):
        tune(lm, TASK, replace(SETTINGS, torch_optimizer=adam(1e30)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"m": 0}, "optimizer.m=0 is not allowed: at least 1"),
        ({"position": "infix"}, "optimizer.position='infix' is not allowed: one of prefix, postfix"),
        ({"init": "zero"}, "optimizer.init='zero' is not allowed: one of normal, vocabulary, template"),
        ({"torch_optimizer": adam(0.0)}, "optimizer.torch_optimizer.lr=0.0 is not allowed"),
        ({"torch_optimizer": adam(float("nan"))}, "optimizer.torch_optimizer.lr=nan is not allowed"),
        ({"schedule": warmup(1.0)}, "optimizer.schedule.warmup=1.0 is not allowed"),
        (
            {"torch_optimizer": {"_target_": "torch.optim.Adan"}},
            "optimizer.torch_optimizer._target_='torch.optim.Adan'",
        ),
        ({"torch_optimizer": {"_target_": "torch.nn.Linear"}}, "optimizer.torch_optimizer cannot be made"),
        ({"torch_optimizer": {"lr": 0.1}}, "optimizer.torch_optimizer has no _target_"),
        (
            {"torch_optimizer": {"_target_": "torch.optim.Adam", "beta": 1}},
            "unexpected keyword argument 'beta'",
        ),
        ({"schedule": {"_target_": "torch.nn.Identity"}}, "optimizer.schedule._target_='torch.nn.Identity'"),
    ],
)
def test_impossible_settings_are_refused(values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PromptTuning(**values)


def stopped(lm: FrozenModel, folder: Path) -> torch.Tensor:
    """Tune until a step fails, as a killed run does; the undisturbed prompt."""
    whole = tuned_prompt(lm, TASK, STOPPED)
    calls, before = 0, type(lm.model)

    class FailsOnce(type(lm.model)):  # type: ignore[misc]
        def forward(self, *arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 12:
                raise RuntimeError("stopped")
            return super().forward(*arguments, **more)

    lm.model.__class__ = FailsOnce
    with pytest.raises(RuntimeError, match="stopped"):
        tuned_prompt(lm, TASK, STOPPED, folder)
    lm.model.__class__ = before
    return whole.embeddings


STOPPED = replace(SETTINGS, max_steps=12)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, torch.Tensor]:
    """A cache that a stopped run has left, a copy to put it back where its checkpoints belong, and the whole prompt."""
    folder, copy = (tmp_path_factory.mktemp(name) for name in ("stopped", "copy"))
    whole = stopped(tiny_lm("gpt2"), folder)
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    return folder, copy, whole


@pytest.fixture
def left(stopped_once: tuple[Path, Path, torch.Tensor]) -> tuple[Path, torch.Tensor]:
    """A cache as a stopped run has left it, and the undisturbed prompt."""
    folder, copy, whole = stopped_once
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    return folder, whole


def rewritten(change: Callable[[dict], object]) -> Callable[[Path], object]:
    """Damage that torch itself writes."""

    def damage(path: Path) -> None:
        checkpoint = torch.load(path, weights_only=True)
        change(checkpoint)
        torch.save(checkpoint, path)

    return damage


def flip(path: Path) -> None:
    """Change one bit of the prompt itself."""
    content = bytearray(path.read_bytes())
    prompt = torch.load(path, weights_only=True)["state_dict"]["prompt"].numpy().tobytes()
    content[content.index(prompt)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b"garbage" * 100),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        flip,
        rewritten(lambda kept: kept["state_dict"].update(prompt=torch.zeros(4, 32))),
        rewritten(lambda kept: kept["state_dict"].update(prompt=kept["state_dict"]["prompt"].half())),
        rewritten(lambda kept: kept["state_dict"]["prompt"].fill_(torch.nan)),
        rewritten(lambda kept: kept["optimizer_states"][0]["state"][0]["exp_avg"].fill_(torch.inf)),
        rewritten(lambda kept: kept.pop("loops")),
        rewritten(lambda kept: kept.update(callbacks=[])),
        rewritten(lambda kept: kept.clear()),
    ],
    ids=[
        "empty",
        "truncated",
        "garbage",
        "zeros",
        "bit",
        "shape",
        "dtype",
        "nan",
        "inf",
        "no_loops",
        "callbacks",
        "keys",
    ],
)
@pytest.mark.parametrize("name", [LAST, BEST])
def test_a_damaged_checkpoint_is_said_and_tuning_starts_anew(
    damage: Callable[[Path], object],
    name: str,
    left: tuple[Path, torch.Tensor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, whole = left
    (checkpoints,) = (path for path in (folder / "prompts").iterdir() if path.is_dir())
    damage(checkpoints / name)
    capsys.readouterr()
    assert torch.equal(tuned_prompt(tiny_lm("gpt2"), TASK, STOPPED, folder).embeddings, whole)
    printed = capsys.readouterr().err
    assert f"{name} " in printed
    assert "tuning starts anew" in printed
    assert printed.count("\n") == 1


def test_checkpoints_of_a_moved_cache_start_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lightning would look for the best prompt at its old place."""
    lm = tiny_lm("gpt2")
    whole = stopped(lm, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert torch.equal(tuned_prompt(lm, TASK, STOPPED, tmp_path / "new").embeddings, whole)
    assert "does not belong to" in capsys.readouterr().err


def test_a_cache_behind_a_link_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm = tiny_lm("gpt2")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    whole = stopped(lm, tmp_path / "link")
    assert torch.equal(tuned_prompt(lm, TASK, STOPPED, tmp_path / "link").embeddings, whole)
    assert capsys.readouterr().err == ""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 kB, which holds one checkpoint and not two."""
    with small_disk(tmp_path / "disk", "size=16k") as place:
        yield place


def test_a_full_disk_leaves_nothing_that_blocks_the_next_start(disk: Path) -> None:
    lm = tiny_lm("gpt2")
    whole = tuned_prompt(lm, TASK, STOPPED)
    with pytest.raises(
        UsageError, match=r"\.ckpt: No space left on device; choose a folder with cache_dir="
    ) as caught:
        tuned_prompt(lm, TASK, STOPPED, disk)
    assert "\n" not in str(caught.value)
    subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
    assert torch.equal(tuned_prompt(lm, TASK, STOPPED, disk).embeddings, whole.embeddings)
    assert not list(disk.rglob("*.tmp"))


def test_a_filled_cache_may_be_read_only(disk: Path) -> None:
    lm = tiny_lm("gpt2")
    subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
    made = tuning_result(lm, TASK, STOPPED, disk)
    for lock in disk.rglob("*.lock"):
        lock.unlink()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    found = tuning_result(lm, TASK, STOPPED, disk)
    assert torch.equal(found.prompt.embeddings, made.prompt.embeddings)
    with pytest.raises(
        UsageError, match=r"Read-only file system; choose a folder with cache_dir=\.\.\. on a disk"
    ):
        tuning_result(lm, TASK, replace(STOPPED, seed=1), disk)


def test_a_damaged_prompt_is_said_and_tuned_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm = tiny_lm("gpt2")
    made = tuned_prompt(lm, TASK, STOPPED, tmp_path)
    (file,) = (tmp_path / "prompts").glob("[!.]*")
    whole = file.read_bytes()
    for content in (b"", whole[:100], whole[:-1], bytes(len(whole)), whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(content)
        capsys.readouterr()
        assert torch.equal(tuned_prompt(lm, TASK, STOPPED, tmp_path).embeddings, made.embeddings)
        printed = capsys.readouterr().err
        assert (printed.count(f"{file} is damaged"), printed.count("\n")) == (1, 1)
        assert torch.equal(load_file(file)["prompt"], made.embeddings)
