"""A trainer's precision: what the device lacks is refused, and TF32 lasts as long as the trainer's work."""

from collections.abc import Iterator
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import nn
from torch.utils.data import DataLoader

from fuse_repro.errors import UsageError
from fuse_repro.models.precision import full_precision, multiplies_bfloat16
from fuse_repro.runners import precision
from fuse_repro.runners.precision import MATMULS, check_device, check_screening
from fuse_repro.runners.trainer import PREDICT, build_trainer
from fuse_repro.runners.transfer.trainer import decides_results

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
TRAINER = {
    "_target_": "pytorch_lightning.Trainer",
    "accelerator": "cpu",
    "devices": 1,
    "inference_mode": False,
}
TRAINER |= {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
TRAINER |= {"enable_model_summary": False}


@pytest.fixture(autouse=True)
def matmul() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    precision._say_once.cache_clear()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def device_with(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes every device one that has, or lacks, bfloat16 and TF32."""

    def make(bfloat16: bool, tf32: bool = False) -> None:
        monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device: bfloat16)
        monkeypatch.setattr(precision, "multiplies_tf32", lambda device: tf32)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")

    return make


class Work(pl.LightningModule):
    """Notes the precision of products in its loop, beside it and within `full_precision`."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.fails = fails
        self.seen: list[str] = []

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        self.seen.append(torch.get_float32_matmul_precision())
        with full_precision(CPU):
            self.seen.append(torch.get_float32_matmul_precision())
        self.seen.append(torch.get_float32_matmul_precision())
        if self.fails:
            raise UsageError("it fails")


def trainer(**values: Any) -> pl.Trainer:
    return build_trainer(DictConfig(TRAINER | values), PREDICT)


@pytest.mark.parametrize("before", MATMULS)
@pytest.mark.parametrize("fails", [False, True])
def test_products_are_set_for_the_trainers_work_and_put_back(
    before: str, fails: bool, device_with: Any
) -> None:
    device_with(bfloat16=True, tf32=True)
    built = trainer(matmul="high")
    torch.set_float32_matmul_precision(before)
    work = Work(fails)
    try:
        built.predict(work, DataLoader([0]), return_predictions=False)
    except UsageError:
        assert fails
    assert work.seen == ["high", "highest", "high"]
    assert torch.get_float32_matmul_precision() == before


def test_a_config_without_the_key_is_one_with_float32_products() -> None:
    torch.set_float32_matmul_precision("medium")
    work = Work()
    trainer().predict(work, DataLoader([0]), return_predictions=False)
    assert work.seen == ["highest"] * 3
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize(
    ("values", "device", "said"),
    [
        (
            {"precision": "16-mixed"},
            CPU,
            r"trainer\.precision='16-mixed' is not allowed: 32-true or bf16-mixed",
        ),
        (
            {"precision": "bf16-mixed"},
            GPU,
            r"trainer\.precision='bf16-mixed'.*16-mixed, since Old GPU has no bf",
        ),
        (
            {"matmul": "high"},
            CPU,
            r"trainer\.matmul='high' is not allowed: highest, since a device of type cpu has",
        ),
        (
            {"matmul": "high"},
            GPU,
            r"trainer\.matmul='high' .* since Old GPU has no TF32; NVIDIA GPUs .* 8\.0 on$",
        ),
        (
            {"matmul": "medium"},
            CPU,
            r"trainer\.matmul='medium' is not allowed: .* no instructions for bfloat16$",
        ),
    ],
)
def test_a_precision_that_the_device_lacks(
    values: dict[str, Any], device: torch.device, said: str, device_with: Any
) -> None:
    device_with(bfloat16=False)
    with pytest.raises(UsageError, match=said):
        check_device(values, device)


@pytest.mark.parametrize("values", [{}, {"precision": "32-true", "matmul": None}, {"matmul": "highest"}])
def test_float32_is_never_refused(values: dict[str, Any], device_with: Any) -> None:
    device_with(bfloat16=False)
    for device in (CPU, GPU):
        check_device(values, device)


def test_a_precision_that_does_not_exist() -> None:
    with pytest.raises(
        UsageError, match=r"trainer\.matmul='low' is not allowed: one of highest, high, medium$"
    ):
        trainer(matmul="low")


def test_half_precision_on_a_cpu_is_refused_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(UsageError, match=r"trainer\.precision='16-mixed' .*16-mixed is for GPUs$"):
        trainer(precision="16-mixed")
    assert not [w for w in recwarn if "fp16" in str(w.message)]


@pytest.mark.parametrize("fast", [False, True])
def test_a_cpu_without_the_instructions_is_told_of_once(
    fast: bool, device_with: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    device_with(bfloat16=fast)
    for _ in range(2):
        check_device({"precision": "bf16-mixed"}, CPU)
    assert capsys.readouterr().err.count("bfloat16 takes longer than float32 on this CPU") == int(not fast)


def screening(dtype: str = "float32", **trainer_values: Any) -> DictConfig:
    models = {"lm": {"dtype": "float32"}, "judge": {"text": {"dtype": dtype}}}
    return DictConfig({"optimizer": {"screen": 8}, "trainer": TRAINER | trainer_values, "models": models})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (screening(precision="bf16-mixed"), r"null with trainer\.precision=bf16-mixed: screening needs"),
        (screening(matmul="high"), r"null with trainer\.matmul=high: screening needs models in float32"),
        (screening("bfloat16"), r"null with models\.judge\.text\.dtype=bfloat16: screening needs"),
    ],
)
def test_screening_needs_float32_to_compare_with(config: DictConfig, said: str) -> None:
    with pytest.raises(UsageError, match=rf"^optimizer\.screen=8 is not allowed: {said}"):
        check_screening(config, CPU)


def test_screening_needs_a_device_with_bfloat16(device_with: Any, capsys: pytest.CaptureFixture[str]) -> None:
    device_with(bfloat16=False)
    with pytest.raises(
        UsageError, match=r"optimizer\.screen=8 is not allowed: null, since Old GPU has no bfloat16"
    ):
        check_screening(screening(), GPU)
    check_screening(screening(), CPU)
    assert "optimizer.screen=8: bfloat16 takes longer" in capsys.readouterr().err
    check_screening(DictConfig({"optimizer": {"screen": None}}), GPU)
    check_screening(DictConfig({"optimizer": {}}), GPU)


def test_tuned_prompts_depend_on_tf32_and_those_of_earlier_versions_are_found() -> None:
    before = {"precision": "32-true"}
    assert decides_results(DictConfig(before | {"matmul": "highest"})) == before
    assert decides_results(DictConfig(before | {"matmul": "high"})) == before | {"matmul": "high"}


def test_what_a_cpu_says_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for known, there in (
        ({"amx_bf16": True, "l2_cache_size": 7}, True),
        ({"avx512_bf16": False, "amx_bf16": False, "avx512_f": True}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        assert multiplies_bfloat16(CPU) is there
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert multiplies_bfloat16(CPU)
