"""One wandb run per run directory, which a resumed run continues."""

import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import wandb

from fuse_repro.errors import UsageError, first_line
from fuse_repro.loggers.flat import flat, numbers
from fuse_repro.loggers.wandb_content import MATCHING_STEP, STEP, item_curves, mean_curves, tables
from fuse_repro.loggers.wandb_settings import LONGEST_NAME, WandbSettings
from fuse_repro.runs.directory import read_records
from fuse_repro.runs.sweep_file import Point, is_sweep, read_sweep
from fuse_repro.shown import say, shown, visible, visible_values

ITEM = "item/index"
FOLDER = "wandb"
DATA_DIR = "WANDB_DATA_DIR"
MOST_TRIES = 4  # ids that a server may refuse
# What servers say of the id of a run that somebody has deleted.
REFUSED = re.compile(r"HTTP 409|created and deleted|try a new run|Duplicate entry", re.IGNORECASE)


class WandbLogger:
    """Shows a run directory in wandb: its config and manifest, every record, curves, and tables at the end.

    Everything is kept in `directory`/wandb as well, or in the folder wandb below `settings.dir`. An offline run is
    complete by itself: when a stopped run goes on, its earlier records are shown again, so that only the latest offline
    folder has to be uploaded.

    Args:
        directory: of the run.
        settings: how wandb is used.
    """

    def __init__(self, directory: Path, settings: WandbSettings) -> None:
        self.directory = directory.absolute()
        self.own_place = Path(settings.dir).expanduser().absolute() if settings.dir else self.directory
        self.place = Path(str(self.own_place).encode(errors="backslashreplace").decode())
        self.settings = settings
        self._run: wandb.Run | None = None
        self._count = 0
        self._tries = 0

    def opened(self, manifest: Mapping[str, Any]) -> None:
        """Start or continue the wandb run; say in one line where it is.

        Wandb takes no path that is not UTF-8: its files then lie below the path with escapes, which is said.
        """
        if self.place != self.own_place:
            self._say(
                f"takes no path that is not UTF-8: its files are in the folder that is really called {self.place}"
            )
        self.place.mkdir(parents=True, exist_ok=True)
        if self.settings.mode == "online":
            self._run = self._online(manifest)
        if self._run is None:
            self._run = self._start(manifest, "offline")
            self._say(f"upload it with: {_sync(self._run)}")
        before = int(self._run.summary.get(ITEM, -1)) + 1 if self._run.resumed else 0
        for index, record in enumerate(read_records(self.directory)):
            self._count = index + 1
            if index >= before:
                self._show(index, record)

    def record(self, row: Mapping[str, Any]) -> None:
        self._show(self._count, row)
        self._count += 1

    def series(self, name: str, step: int, values: Mapping[str, float]) -> None:
        if self._run is not None:
            kind = name.split("/", 1)[0]
            self._define(f"{kind}/*", f"{kind}/step")
            self._run.log(
                visible_values({f"{kind}/step": step} | {f"{name}/{key}": v for key, v in values.items()})
            )

    def finished(self, results: Mapping[str, Any]) -> None:
        self._end(flat(results), exit_code=0)

    def failed(self, error: BaseException) -> None:
        self._end({"error": first_line(error)}, exit_code=1)

    def close(self) -> None:
        self._end({}, exit_code=1)

    def _online(self, manifest: Mapping[str, Any]) -> wandb.Run | None:
        """A run on the server, under another id where it refuses the first; None where it cannot be used."""
        while True:
            name = self._id(manifest)
            there = set((self.place / FOLDER).glob(f"run-*-{name}"))
            try:
                run = self._start(manifest, "online")
                self._say(run.url or "online")
                return run
            except (wandb.errors.Error, TimeoutError, OSError) as error:
                wandb.teardown()  # the id stays in use otherwise, and could not be taken offline
                for left in set((self.place / FOLDER).glob(f"run-*-{name}")) - there:
                    shutil.rmtree(left, ignore_errors=True)
                refused = REFUSED.search(str(error)) is not None
                self._tries += refused
                if not refused or self._tries >= MOST_TRIES:
                    self._say(f"goes on offline, since the server cannot be used: {first_line(error)}")
                    return None
                self._say(
                    f"the server refuses the run id {name}, and gets {self._id(manifest)}: {first_line(error)}"
                )

    def _start(self, manifest: Mapping[str, Any], mode: Literal["online", "offline"]) -> wandb.Run:
        config = manifest.get("config") or {}
        sweep, overrides = self._sweep()
        derived = ", ".join(f"{key}={value}" for key, value in overrides.items()) or self.directory.name
        name = self.settings.name or shown(derived)
        if len(name) > LONGEST_NAME:
            self._say(f"takes no name of more than {LONGEST_NAME} characters: this one is cut: {name}")
        origin = {key: value for key, value in manifest.items() if key != "config"}
        runner = str((config.get("runner") or {}).get("_target_", "")).split(".")
        wandb.setup(wandb.Settings(silent=True))
        run = wandb.init(
            project=self.settings.project,
            entity=self.settings.entity,
            group=self.settings.group or (sweep and shown(sweep)[:LONGEST_NAME]),
            job_type=runner[-2] if len(runner) > 1 else None,
            name=name[:LONGEST_NAME],
            id=self._id(manifest),
            resume="allow",
            reinit="create_new",
            mode=mode,
            dir=self.place,
            config=visible_values({**config, "manifest": origin}),
            settings=wandb.Settings(
                init_timeout=self.settings.timeout_s,
                login_timeout=self.settings.timeout_s,
                finish_timeout=self.settings.upload_timeout_s,
                finish_timeout_raises=True,
                console="off",
                silent=True,
            ),
        )
        self._defined: set[str] = set()
        self._run = run
        self._define("item/*", ITEM)
        self._define("search/*", STEP)
        self._define("matching/*", MATCHING_STEP)
        return run

    def _id(self, manifest: Mapping[str, Any]) -> str:
        """The same for the same config in the same place, so that a resumed run is continued.

        Every id that the server has refused is followed by the same next one, so that this holds for that, too.
        """
        place = f"{manifest.get('config_hash')} {self.directory}".encode(errors="surrogateescape")
        name = hashlib.sha256(place).hexdigest()[:16]
        return f"{name}-{self._tries}" if self._tries else name

    def _sweep(self) -> tuple[str | None, Mapping[str, Any]]:
        """Name of the sweep that this directory is a point of, and the point's overrides."""
        folder = self.directory.parent
        if not is_sweep(folder):
            return None, {}
        try:
            points: Iterable[Point] = read_sweep(folder).points.values()
        except UsageError as error:  # the run itself does without
            self._say(f"the point's values are not shown: {error}")
            points = ()
        own = [point.overrides for point in points if point.directory.name == self.directory.name]
        return folder.name, own[0] if own else {}

    def _define(self, metrics: str, step: str) -> None:
        if self._run is not None and metrics not in self._defined:
            self._run.define_metric(step, hidden=True)
            self._run.define_metric(metrics, step_metric=step)
            self._defined.add(metrics)

    def _show(self, index: int, record: Mapping[str, Any]) -> None:
        if self._run is None:
            return
        own = {key: value for key, value in record.items() if key != "methods"}  # those stand in a table
        self._run.log({ITEM: index} | {f"item/{visible(key)}": value for key, value in numbers(own).items()})
        if index < self.settings.curves:
            for point in item_curves(record):
                self._run.log(visible_values(point))

    def _end(self, summary: Mapping[str, Any], exit_code: int) -> None:
        """Show summary and tables, and end the wandb run whatever happens; a failed upload stays on disk."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            try:
                run.summary.update(visible_values({k: v for k, v in summary.items() if v is not None}))
                self._show_whole(run)
            finally:
                run.finish(exit_code=exit_code)
        except (wandb.errors.Error, OSError) as error:  # a TimeoutError is an OSError
            self._say(f"not all was uploaded ({first_line(error)}); later: {_sync(run)}")

    def _show_whole(self, run: wandb.Run) -> None:
        """What needs every record: mean curves and tables."""
        records = read_records(self.directory)
        for point in mean_curves(records):
            run.log(point)
        with _staging(self.place / FOLDER / "staging"):
            for name, table in tables(records, self.settings.images).items():
                run.log({name: table})

    def _say(self, text: str) -> None:
        say(text, "wandb")


def _sync(run: wandb.Run) -> str:
    """The command that uploads what lies on disk."""
    return f"wandb sync {shlex.quote(str(Path(run.dir).parent))}"


@contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Have wandb keep what it uploads later beside the run, and not in a home directory of limited size."""
    before = os.environ.get(DATA_DIR)
    os.environ.setdefault(DATA_DIR, str(folder))
    try:
        yield
    finally:
        if before is None:
            del os.environ[DATA_DIR]
