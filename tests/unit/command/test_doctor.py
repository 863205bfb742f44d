"""`fuse-repro doctor` says what is there, what is missing, and what to do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fuse_repro import __version__
from fuse_repro.cli import main
from fuse_repro.doctor import machine, network, software
from fuse_repro.doctor.finding import BROKEN, OK, OPTIONAL


@contextmanager
def server(status: int) -> Iterator[str]:
    """The address of a server that answers everything with one status."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        try:
            yield f"http://user:secret@127.0.0.1:{found.server_port}/simple"
        finally:
            found.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No word from outside: nothing listens on this port, and the home is empty."""
    for name in ("PIP_INDEX_URL", "HF_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    for name in ("HF_HUB_OFFLINE", "WANDB_API_KEY", "WANDB_MODE", "NETRC", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSE_REPRO_CACHE", str(tmp_path / "cache"))


def test_the_command_prints_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for name in (
        "python",
        "packages",
        "processor",
        "cuda",
        "cache",
        "outputs",
        "index",
        "hub",
        "java",
        "wandb",
    ):
        assert name in said
    assert "HTTPS_PROXY" in said
    assert "Traceback" not in said
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fuse-repro {__version__}\n"


def test_what_breaks_every_run_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FUSE_REPRO_CACHE", str(tmp_path / "file" / "cache"))
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "broken: cache" in said
    assert "FUSE_REPRO_CACHE" in said


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.cache().state == OK
    monkeypatch.setattr(machine, "NEEDED", 2**80)
    assert "GiB free" in machine.cache().found
    assert machine.cache().state == BROKEN


@pytest.mark.parametrize(("status", "state"), [(200, OK), (404, OK), (407, OPTIONAL)])
def test_whoever_answers_is_reached_and_no_password_is_shown(
    monkeypatch: pytest.MonkeyPatch, status: int, state: str
) -> None:
    with server(status) as address:
        plain = address.replace("user:secret@", "")
        monkeypatch.setenv("HF_ENDPOINT", plain)
        found = network.hub()
    assert found.state == state
    assert "127.0.0.1" in found.found
    monkeypatch.setenv("PIP_INDEX_URL", address)  # nobody listens there any more
    assert network.index().state == OPTIONAL
    assert "secret" not in network.index().found


def test_an_offline_hub_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert network.hub().found == "HF_HUB_OFFLINE is set"


def test_programs_that_are_not_there_are_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert [software.java().state, software.slurm().state] == [OPTIONAL, OPTIONAL]
    assert "SPICE" in software.java().remedy


def test_a_package_of_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.packages().state == OK
    lines = ["torch>=999", "no-such-package", "rich>=1", 'submitit>=999; extra == "slurm"']
    monkeypatch.setattr(software, "requires", lambda name: lines)
    found = software.packages()
    assert found.state == BROKEN
    assert "torch is" in found.found
    assert "no-such-package is missing" in found.found
    assert "submitit" not in found.found


def test_a_key_of_wandb_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert software.wandb().state == OPTIONAL
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    assert software.wandb().state == OK
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "offline" in software.wandb().found


def test_an_old_python_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.python().state == OK
    monkeypatch.setattr(software, "OLDEST", (99, 0))
    assert "make PYTHON=" in software.python().remedy
