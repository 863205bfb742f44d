"""conf/logger: every option makes its observers, and says what the code says."""

from dataclasses import asdict
from pathlib import Path

import pytest
from composed import composed as composed_command
from omegaconf import OmegaConf

from fuse_repro import schema
from fuse_repro.loggers import WandbSettings
from fuse_repro.runners.build import build
from fuse_repro.runs.provenance import config_hash

CONF = schema.config_folder()


def composed(*overrides: str):
    return composed_command("experiment=caption", *overrides)


@pytest.mark.parametrize(
    ("option", "made"), [("none", []), ("csv", ["CsvLogger"]), ("wandb", ["CsvLogger", "WandbLogger"])]
)
def test_every_option_makes_its_observers(option: str, made: list[str], tmp_path: Path) -> None:
    config = composed(f"logger={option}")
    assert [type(observer).__name__ for observer in build(config.logger, tmp_path)] == made
    assert not list(tmp_path.iterdir())


def test_every_option_is_tested() -> None:
    assert {path.stem for path in (CONF / "logger").glob("*.yaml")} == {"none", "csv", "wandb"}
    assert composed().logger._target_.endswith("csv_loggers")


def test_the_file_has_the_defaults_of_the_code() -> None:
    written = OmegaConf.to_container(composed("logger=wandb").logger)
    assert isinstance(written, dict)
    assert written == {"_target_": "fuse_repro.loggers.wandb_loggers"} | asdict(WandbSettings())


def test_a_dashboard_and_a_label_make_no_other_run() -> None:
    plain, shown = composed(), composed("logger=wandb", "paper_cell=fuse/coco")
    assert config_hash(OmegaConf.to_container(plain)) == config_hash(OmegaConf.to_container(shown))
