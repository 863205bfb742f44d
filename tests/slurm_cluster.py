"""A real Slurm of one node on loopback, with accounting or without, for tests and benchmarks."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).parent / "slurm"
DAEMONS = ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged")
SYSTEM = "/usr/sbin"
PATIENCE_S = 60.0


def missing(accounting: bool) -> str | None:
    """Why there can be no cluster here, or None."""
    names = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue"]
    names += ["slurmdbd", "mariadbd", "mariadb-install-db", "sacct"] if accounting else []
    absent = [name for name in names if shutil.which(name, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} not installed (apt-get install slurm-wlm munge slurmdbd mariadb-server)"
    return None if os.geteuid() == 0 else "only root can start a Slurm"


@contextmanager
def running(folder: Path, accounting: bool, max_array_size: int = 1001) -> Iterator[dict[str, str]]:
    """Start the daemons in `folder` and end them afterwards; yields the environment that commands need."""
    for name in ("run", "log", "state", "spool", "etc"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "etc").chmod(0o700)
    (folder / "log").chmod(0o700)
    folder.chmod(0o755)
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    _configure(folder, accounting, max_array_size)
    try:
        _start(folder, accounting, dict(os.environ) | environment)
        yield environment
    finally:
        _end_jobs(dict(os.environ) | environment)
        _stop(folder)


def _configure(folder: Path, accounting: bool, max_array_size: int) -> None:
    ports = dict(zip(("ctld_port", "d_port", "dbd_port"), _free_ports(3), strict=True))
    values = {
        "folder": str(folder),
        "host": socket.gethostname().partition(".")[0],
        "user": getpass.getuser(),
        "accounting": "slurmdbd" if accounting else "none",
        "max_array_size": str(max_array_size),
        **{name: str(port) for name, port in ports.items()},
    }
    for name in ("slurm.conf", "slurmdbd.conf"):
        text = Template((TEMPLATES / name).read_text()).substitute(values)
        (folder / name).write_text(text)
        (folder / name).chmod(0o600 if name == "slurmdbd.conf" else 0o644)
    # some cgroup plugin is always loaded; v1 needs no systemd, and nothing uses it
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    devices = ("/dev/null", "/dev/zero")  # nothing opens the pretend GPUs
    lines = [f"NodeName={values['host']} Name=gpu File={device}\n" for device in devices]
    (folder / "gres.conf").write_text("".join(lines))
    key = folder / "etc" / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)


def _start(folder: Path, accounting: bool, environment: dict[str, str]) -> None:
    def call(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        # daemons keep what they inherit open, so their output must not be a pipe
        with (folder / "log" / "start.log").open("a+") as log:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=PATIENCE_S
            )
        if check and done.returncode:
            raise RuntimeError(f"{command[0]} failed: {(folder / 'log' / 'start.log').read_text()[-2000:]}")
        return done

    run, log = folder / "run", folder / "log"
    call(
        "munged", "--force", f"--socket={run}/munge.sock", f"--key-file={folder}/etc/munge.key",
        f"--pid-file={run}/munged.pid", f"--log-file={log}/munged.log", f"--seed-file={run}/munge.seed",
        "--num-threads=2",
    )  # fmt: skip
    if accounting:
        user = getpass.getuser()
        call(
            "mariadb-install-db", "--no-defaults", f"--user={user}", f"--datadir={folder}/db",
            "--auth-root-authentication-method=normal", "--skip-test-db",
        )  # fmt: skip
        subprocess.Popen(
            [
                "mariadbd", "--no-defaults", f"--user={user}", f"--datadir={folder}/db", "--skip-networking",
                f"--socket={run}/mysql.sock", f"--pid-file={run}/mariadbd.pid", "--innodb-buffer-pool-size=32M",
                "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=900", f"--log-error={log}/mariadbd.log",
            ],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        _until((run / "mysql.sock").exists, "mariadbd")
        environment["MYSQL_UNIX_PORT"] = str(run / "mysql.sock")
        call("slurmdbd")
        _until(lambda: call("sacctmgr", "-n", "show", "cluster", check=False).returncode == 0, "slurmdbd")
        call("sacctmgr", "-i", "add", "cluster", "tests", check=False)
    call("slurmctld", "-f", environment["SLURM_CONF"])
    call("slurmd", "-N", socket.gethostname().partition(".")[0], "-f", environment["SLURM_CONF"])

    def idle() -> bool:
        shown = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
        return shown.stdout.strip() == "idle"

    _until(idle, "slurmd")


def _end_jobs(environment: dict[str, str]) -> None:
    """Cancel what is left, since jobs outlive the daemons that started them."""

    def none_left() -> bool:
        shown = subprocess.run(
            ["squeue", "-h"], env=environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
        return not shown.stdout.strip()

    with suppress(subprocess.TimeoutExpired, RuntimeError):
        subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment, timeout=PATIENCE_S)
        _until(none_left, "the end of the jobs")


def _stop(folder: Path) -> None:
    for name in DAEMONS:
        file = folder / "run" / f"{name}.pid"
        if not file.exists() or not (pid := file.read_text().strip()):
            continue
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() != name:
                continue
            os.kill(int(pid), signal.SIGTERM)
            _until(lambda pid=pid: not _lives(pid), name)  # type: ignore[misc]


def _lives(pid: str) -> bool:
    with suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def _until(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} is not ready after {PATIENCE_S:.0f} s")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _path() -> str:
    return f"{os.environ['PATH']}:{SYSTEM}"
