"""The built wheel, installed elsewhere, works from another directory with its own configs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from own_prompt import chain

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not run from a source tree")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel was installed into, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [
            *pip,
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--wheel-dir",
            folder / "dist",
            ROOT,
        ],
        check=True,
    )
    (wheel,) = (folder / "dist").glob("fuse_repro-*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel], check=True
    )
    return folder / "site"


def test_every_config_is_in_the_wheel(installed: Path) -> None:
    packaged = {
        path.relative_to(installed / "fuse_repro/conf")
        for path in installed.glob("fuse_repro/conf/**/*.yaml")
    }
    assert packaged == {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}


def test_every_template_of_the_reports_is_in_the_wheel(installed: Path) -> None:
    own, packaged = (root / "fuse_repro/report/templates" for root in (ROOT, installed))
    names = {path.name for path in own.iterdir()}
    assert {"base.html.j2", "style.css"} < names
    assert {path.name for path in packaged.iterdir()} == names


def test_a_run_from_another_directory(
    installed: Path, tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "fuse_repro.cli",
        *tiny_overrides,
        f"dataset.path={photos}",
        "dataset.limit=1",
    ]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    where = tmp_path / "elsewhere"
    where.mkdir()
    program = "import fuse_repro; print(fuse_repro.__file__)"
    origin = subprocess.run(
        [sys.executable, "-c", program],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(origin.stdout.strip()).is_relative_to(installed)
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (status,) = where.glob("outputs/caption/*/status.json")
    assert json.loads(status.read_text())["state"] == "done"


def test_an_own_prompt_is_tuned_moved_and_evaluated_in_an_empty_folder(
    installed: Path, transfer_overrides: list[str], tmp_path: Path
) -> None:
    """The chain of docs/move.md, by the installed wheel; in one process, which saves two starts of torch."""
    commands = chain(transfer_overrides, tmp_path)
    program = (
        "import json, sys; from fuse_repro.cli import main; print([main(c) for c in json.loads(sys.argv[1])])"
    )
    where = tmp_path / "empty"
    where.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(commands)],
        cwd=where,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[0, 0, 0]", done.stderr
    moved, asked = (json.loads((tmp_path / run / "results.json").read_text()) for run in ("move", "evaluate"))
    after = moved["accuracy"]["after"]["mean_over_relations"]
    assert asked["methods"]["prompt"]["mean_over_relations"] == after
    assert list(where.iterdir()) == []
