"""The whole command with `source=hub`, against a server on loopback that speaks the hub's protocol."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hub_server
import pytest
from hub_server import HubServer
from hydra import compose, initialize_config_dir

import fuse_repro
from fuse_repro import schema

ROOT = Path(fuse_repro.__file__).parents[1]


@pytest.fixture
def hub(tiny_models_folder: Path) -> Iterator[HubServer]:
    """A hub with the tiny language model at the repository and revision of conf/model/gpt2.yaml."""
    with initialize_config_dir(str(schema.config_folder()), version_base=None):
        wanted = compose(overrides=["+model@model=gpt2", "+cache_dir=null", "+dtype=float32"]).model.hub
    files = {path.name: path.read_bytes() for path in (tiny_models_folder / "lm").iterdir()}
    with HubServer() as server:
        server.add(wanted.repo_id, files, wanted.revision)
        yield server


TWO_RUNS = """
import sys
from fuse_repro.cli import main
for model, *where in (("gpt2_medium", "output_dir=gated"), ("gpt2",)):
    print(f"{model}: {main([*sys.argv[1:], f'model@models.lm={model}', *where])}")
    print("--", file=sys.stderr)
"""


def runs(hub: HubServer, overrides: list[str], photos: Path, where: Path) -> tuple[list[str], list[str]]:
    """The command on one photograph, twice, with two language models from the hub: the libraries are loaded once.

    Returns:
        The exit codes, and what each run said.
    """
    kept = [
        o for o in overrides if not o.startswith(("models.lm.source", "models.lm.path", "model@models.lm"))
    ]
    command = [sys.executable, "-c", TWO_RUNS, *kept, f"dataset.path={photos}", "dataset.limit=1"]
    environment = hub.environment(where / "hub") | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=where, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    codes = [line for line in done.stdout.splitlines() if line.startswith("gpt2")]
    return codes, done.stderr.split("--\n")[:-1]


def test_a_run_with_a_model_of_the_hub_and_one_with_a_gated_model(
    hub: HubServer, tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    hub.refused["openai-community/gpt2-medium"] = hub_server.GATED_STRANGER
    codes, (refused, said) = runs(hub, tiny_overrides, photos, tmp_path)
    assert codes == ["gpt2_medium: 1", "gpt2: 0"], said  # the refused run had begun, and has failed
    *_, last = refused.splitlines()
    assert "openai-community/gpt2-medium is gated on the hub (401): accept its terms at" in last
    assert "Traceback" not in refused
    (manifest,) = tmp_path.glob("outputs/caption/*/manifest.json")
    assert json.loads(manifest.with_name("status.json").read_text())["state"] == "done"
    assert "model.safetensors" in manifest.read_text()
    assert {asked.path.split("/resolve/")[0] for asked in hub.asked if "/resolve/" in asked.path} == {
        "/openai-community/gpt2"
    }
