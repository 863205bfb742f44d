"""wandb as the user has it: offline runs are read back with wandb's own tool, and no server is needed."""

import io
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from drills import CONFIGS
from PIL import Image
from vanishing_server import VanishingServer
from wandb.util import get_core_path

from fuse_repro.cli import main
from fuse_repro.errors import UsageError
from fuse_repro.loggers import wandb_loggers
from fuse_repro.loggers.wandb_settings import VARIABLES
from fuse_repro.runs.directory import RunDirectory, read_json, read_records


@pytest.fixture(autouse=True)
def wandb_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings or credentials but the test's own."""
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    for name in ("WANDB_API_KEY", "WANDB_DATA_DIR", *VARIABLES.values()):
        monkeypatch.delenv(name, raising=False)
    yield
    wandb.teardown()  # its service would go on with this test's server


class Shown:
    """What an offline folder holds, by the program that `wandb leet inspect` starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (log,) = folder.glob("run-*.wandb")
        command = [get_core_path(), "leet", "inspect", "--no-observability", "--json"]
        command += ["--run-file", str(log), str(folder.parent)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        self.lines = [json.loads(line) for line in done.stdout.splitlines()]
        (self.run,) = self.of("run")
        self.config = self.run["config"]["update"]
        self.history = [row["item"] for row in self.of("history")]

    def of(self, kind: str) -> list[dict]:
        return [line[kind] for line in self.lines if line["type"] == kind]

    def curve(self, step: str, value: str) -> list[tuple[Any, Any]]:
        return [(row[step], row[value]) for row in self.history if value in row]

    def table(self, name: str) -> list[dict]:
        (file,) = self.folder.glob(f"files/media/table/{name}_*.table.json")
        content = json.loads(file.read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]

    def summary(self) -> dict:
        return {key: value for row in self.of("summary") for key, value in row["update"].items()}


def offline_folders(directory: Path) -> list[Path]:
    return sorted((directory / "wandb").glob("offline-run-*"))


def test_captions_are_all_there(
    tiny_overrides: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "points" / "one"
    directory.parent.mkdir()
    points = [{"id": "one", "directory": "one", "overrides": {"optimizer.beam": 2}}]
    (directory.parent / "sweep.json").write_text(json.dumps({"format": 1, "points": points}))
    extra = [f"dataset.path={photos}", f"output_dir={directory}", "logger=wandb", "logger.mode=offline"]
    assert main([*tiny_overrides, *extra, "logger.curves=2"]) == 0
    (folder,) = offline_folders(directory)
    assert f"wandb: upload it with: wandb sync {folder}\n" in capsys.readouterr().err
    shown, records = Shown(folder), read_records(directory)
    manifest = read_json(directory / "manifest.json")
    assert (shown.run["run_group"], shown.run["job_type"], shown.run["display_name"]) == (
        "points",
        "caption",
        "optimizer.beam=2",
    )
    assert shown.config["optimizer"]["candidates"] == 8
    assert shown.config["manifest"]["weights"] == manifest["weights"]
    assert shown.config["manifest"]["config_hash"] == manifest["config_hash"]

    assert shown.curve("item/index", "item/objective") == [
        (place, pytest.approx(record["objective"])) for place, record in enumerate(records)
    ]
    for record in records[:2]:
        steps = [min(step["beam"], key=lambda row: row["objective"]) for step in record["steps"]]
        for term in ("fluency", "image"):
            curve = shown.curve("search/step", f"search/{record['id']}/{term}")
            assert curve == [
                (place + 1, pytest.approx(step["terms"][term])) for place, step in enumerate(steps)
            ]
    assert not shown.curve("search/step", f"search/{records[2]['id']}/objective")
    mean = shown.curve("search/step", "search/mean/objective")
    ends = [min(row["objective"] for row in record["steps"][-1]["beam"]) for record in records]
    assert mean[-1][1] == pytest.approx(sum(ends) / 3)

    rows = shown.table("captions")
    assert [(row["id"], row["caption"]) for row in rows] == [(r["id"], r["caption"]) for r in records]
    assert [row["objective"] for row in rows] == pytest.approx([record["objective"] for record in records])
    assert len(shown.table("search_steps")) == sum(len(record["steps"]) for record in records)
    kept = [path.read_bytes() for path in (directory / "wandb" / "staging").rglob("*") if path.is_file()]
    pictures = [Image.open(io.BytesIO(data)).size for data in kept if data.startswith(b"\xff\xd8")]
    assert pictures.count((48, 40)) == 3, "the photographs lie beside the run"
    documents = [json.loads(data) for data in kept if data.startswith(b"{") and b"image-file" in data]
    uploaded = [document for document in documents if "columns" in document]
    assert uploaded
    for table in uploaded:
        photo = table["columns"].index("photo")
        assert [row[photo]["_type"] for row in table["data"]] == 3 * ["image-file"]
    assert shown.summary()["objective.mean"] == pytest.approx(
        read_json(directory / "results.json")["objective"]["mean"]
    )
    assert [row["exit_code"] for row in shown.of("exit")] == [0]


def test_a_resumed_run_continues_its_wandb_run(
    tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    command = [*tiny_overrides, f"dataset.path={photos}", "logger=wandb", "logger.mode=offline"]
    command += [f"output_dir={directory}"]
    assert main(command) == 0
    (first,) = offline_folders(directory)
    whole = (directory / "records.jsonl").read_bytes()
    (directory / "records.jsonl").write_bytes(whole.splitlines(keepends=True)[0])
    (directory / "status.json").unlink()
    assert main(command) == 0
    assert (directory / "records.jsonl").read_bytes() == whole
    (second,) = set(offline_folders(directory)) - {first}
    shown = Shown(second)
    assert [place for place, _ in shown.curve("item/index", "item/objective")] == [0, 1, 2]
    assert shown.run["run_id"] == Shown(first).run["run_id"]
    assert shown.run["resume"]


def test_an_interrupted_run_is_shown_as_failed_and_other_places_have_other_ids(tmp_path: Path) -> None:
    ids = []
    for place in ("a", "b"):
        run = RunDirectory(tmp_path / place, {"name": "x", "seed": 0})
        for observer in wandb_loggers(run.path, mode="offline"):
            run.observers.add(observer)
        run.open(device="cpu", weights={})
        run.append({"id": "one", "value": 0.5})
        run.interrupt(KeyboardInterrupt())
        run.observers.close()
        shown = Shown(*offline_folders(run.path))
        assert [row["exit_code"] for row in shown.of("exit")] == [1]
        assert shown.summary()["error"].startswith("KeyboardInterrupt")
        assert shown.table("records") == [{"id": "one", "value": 0.5}]
        ids.append(shown.run["run_id"])
    assert ids[0] != ids[1]


def test_a_server_that_cannot_be_reached_loses_nothing(
    tiny_overrides: list[str],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    directory = tmp_path / "run"
    extra = [f"dataset.path={photos}", "dataset.limit=1", f"output_dir={directory}"]
    assert main([*tiny_overrides, *extra, "logger=wandb", "logger.timeout_s=2"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wandb: ")]
    (folder,) = offline_folders(directory)
    assert len(said) == 2
    assert said[0].startswith("wandb: goes on offline, since the server cannot be used: CommError")
    assert str(folder) in said[1]
    assert not list((directory / "wandb").glob("run-*"))
    assert [row["id"] for row in Shown(folder).table("captions")] == [read_records(directory)[0]["id"]]
    assert (directory / "metrics.csv").read_text().count("\n") == 2


@pytest.mark.slow
def test_an_online_run_goes_on_where_the_server_has_it_and_survives_its_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = VanishingServer(shown=2)
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    run = RunDirectory(tmp_path / "run", {"name": "x", "seed": 0})
    run.open(device="cpu", weights={})
    for number in range(3):
        run.append({"id": str(number), "value": number / 2})
    run.interrupt(KeyboardInterrupt())

    run = RunDirectory(tmp_path / "run", {"name": "x", "seed": 0})
    for observer in wandb_loggers(run.path, timeout_s=10, upload_timeout_s=1):
        run.observers.add(observer)
    run.open(device="cpu", weights={})
    server.vanish()
    run.append({"id": "3", "value": 1.5})
    run.finish({"mean": 0.75})
    run.observers.close()
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"wandb: {server.address}/somebody/fuse_repro/runs/")
    (folder,) = (run.path / "wandb").glob("run-*")
    assert last.startswith("wandb: not all was uploaded (")
    assert last.endswith(f"; later: wandb sync {folder}")
    shown = Shown(folder)
    assert shown.curve("item/index", "item/value") == [(2, 1), (3, 1.5)]
    assert shown.summary()["mean"] == 0.75
    assert read_json(run.path / "status.json")["state"] == "done"
    assert len(read_records(run.path)) == 4


def test_transfer_shows_tuning_and_matching(transfer_overrides: list[str], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    own = [
        "adapter@methods.relative=relative_paper",
        "methods.relative.k=20",
        "methods.relative.steps=20",
        "methods.relative.check_every=5",
        "runner.trace_accuracy=true",
        "runner.baselines=[manual]",
    ]
    command = ["experiment=transfer", *transfer_overrides, *own, f"output_dir={directory}"]
    assert main([*command, "logger=wandb", "logger.mode=offline"]) == 0
    (folder,) = offline_folders(directory)
    shown = Shown(folder)
    record = next(record for record in read_records(directory) if record["method"] == "relative")
    curve = shown.curve("matching/step", f"matching/{record['id']}/loss")
    assert curve == [tuple(point) for point in record["matching"]["curve"]]
    assert [step for step, _ in curve] == list(range(21))
    assert curve[-1][1] < curve[0][1]
    assert [step for step, _, _ in record["matching"]["scores"]] == [0, 5, 10, 15, 20]
    assert record["matching"]["loss"] == pytest.approx(min(loss for _, loss in curve), abs=1e-5)
    (loss,) = {
        key for row in shown.history for key in row if key.startswith("tuning/") and key.endswith("/loss")
    }
    tuned = shown.curve("tuning/step", loss)
    assert [step for step, _ in tuned] == list(range(len(tuned)))
    assert len(tuned) >= 4
    assert {row["method"]: row["accuracy"] for row in shown.table("transfer")} == {
        record["method"]: record["accuracy"] for record in read_records(directory)
    }
    page = (directory / "report.html").read_text()
    assert "matching loss over the search" in page
    assert "precision@1 on dev" in page


def test_a_directory_whose_name_is_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ended the run: wandb encodes every path and name."""
    directory = tmp_path / "sweep\udcff" / "one\udcfe"
    directory.mkdir(parents=True)
    points = [{"id": "x", "directory": directory.name, "overrides": {"dataset.path": "a\udcff\u202eb"}}]
    (directory.parent / "sweep.json").write_text(json.dumps({"format": 1, "points": points}))
    (_, logger) = wandb_loggers(directory, mode="offline")
    logger.opened({"config_hash": "x", "config": {"a\udcff": "b\udcff"}})
    logger.record({"id": "c\udcff", "status": "done", "objective": 2.0})
    logger.series("tuning/c\udcff", 1, {"loss": 1.0})
    logger.finished({"d\udcff": "e\udcff"})
    kept = tmp_path / r"sweep\udcff" / r"one\udcfe"
    said, _ = capsys.readouterr().err.splitlines()
    assert (
        said
        == f"wandb: takes no path that is not UTF-8: its files are in the folder that is really called {kept}"
    )
    (folder,) = offline_folders(kept)
    shown = Shown(folder)
    assert shown.run["run_group"] == r"sweep\udcff"
    assert shown.run["display_name"] == r"dataset.path=a\udcff\u202eb"
    assert shown.config[r"a\udcff"] == r"b\udcff"
    assert shown.curve("item/index", "item/objective") == [(0, 2.0)]
    assert shown.summary()[r"d\udcff"] == r"e\udcff"


@pytest.mark.parametrize("content", ["{", '{"format": 1, "points": [3, {"directory": 1}]}', "[" * 100_000])
def test_a_damaged_sweep_does_not_end_its_points(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "sweep" / "one"
    directory.mkdir(parents=True)
    (directory.parent / "sweep.json").write_text(content)
    (_, logger) = wandb_loggers(directory, mode="offline")
    logger.opened({"config_hash": "x", "config": {}})
    logger.finished({})
    assert "wandb: the point's values are not shown: " in capsys.readouterr().err
    (folder,) = offline_folders(directory)
    assert Shown(folder).run["display_name"] == "one"


@pytest.mark.parametrize(("name", "value"), [("group", ""), ("project", " "), ("entity", "a\x1b")])
def test_names_that_wandb_does_not_take(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"^logger\.{name}=.* is not allowed: .*printable name"):
        wandb_loggers(tmp_path, mode="offline", **{name: value})


def test_environment_variables_win_over_defaults_and_names_are_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A default that nobody had set won over them, and a name that wandb forbids ended its part of the run."""
    told = {
        "mode": "offline",
        "project": "theirs",
        "group": "g" * 200,
        "name": "a/b",
        "dir": str(tmp_path / "far"),
    }
    for name, value in told.items():
        monkeypatch.setenv(VARIABLES[name], value)
    (_, logger) = wandb_loggers(tmp_path / "run", project="our/own")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "wandb: takes no project called 'our/own': it is called 'our-own' there"
    assert said[1].startswith("wandb: takes no group called 'ggg")
    (tmp_path / "run").mkdir()
    logger.opened({"config_hash": "x", "config": {}})
    logger.record({"id": "one", "value": 0.5})
    logger.finished({"mean": 0.5})
    assert not list((tmp_path / "run").iterdir())
    (folder,) = offline_folders(tmp_path / "far")
    shown = Shown(folder)
    assert (shown.run["project"], shown.run["run_group"]) == ("our-own", "g" * 128)
    assert shown.run["display_name"] == "a/b"
    assert shown.curve("item/index", "item/value") == [(0, 0.5)]
    assert f"wandb: upload it with: wandb sync {folder}" in capsys.readouterr().err


@pytest.mark.slow
def test_an_id_that_the_server_refuses_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that somebody had deleted could not be shown again: its id is taken for ever."""
    (_, logger) = wandb_loggers(tmp_path, timeout_s=20, upload_timeout_s=1)
    (tmp_path / "wandb" / "run-of-another").mkdir(parents=True)
    first = logger._id({"config_hash": "x"})
    server = VanishingServer(shown=0, deleted={first, f"{first}-1"})
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    logger.opened({"config_hash": "x", "config": {}})
    server.vanish()
    logger.close()
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"wandb: the server refuses the run id {first}, and gets {first}-1: ")
    assert "created and deleted" in said[0]
    assert said[1].startswith(f"wandb: the server refuses the run id {first}-1, and gets {first}-2: ")
    assert said[2] == f"wandb: {server.address}/somebody/fuse_repro/runs/{first}-2"
    kept = sorted(path.name for path in (tmp_path / "wandb").glob("run-*"))
    assert [name.endswith(f"-{first}-2") for name in kept] == [True, False]


def test_a_sweep_over_shards_has_one_run_more_that_shows_the_whole(tmp_path: Path) -> None:
    command = ["-m", f"--config-dir={CONFIGS}", "experiment=lengths", "sweep=shards", "dataset.shards=2"]
    logger = ["logger=wandb", "logger.mode=offline", "hydra.launcher.in_process=true"]
    assert main([*command, *logger, f"output_root={tmp_path}"]) == 0
    (sweep,) = (tmp_path / "lengths").iterdir()
    (folder,) = offline_folders(sweep / "merged")
    shown = Shown(folder)
    assert (shown.run["run_group"], shown.run["display_name"]) == (sweep.name, "merged")
    assert shown.summary()["items.done"] == 14
    assert len([row for row in shown.history if "item/value" in row]) == 14
