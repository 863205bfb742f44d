"""The fuzz job: every reader in turn, each in a process of its own.

    python -m tests.fuzz --minutes 10 [--reader NAME ...] [--seed N] [--finds FOLDER]
    python -m tests.fuzz --again FOLDER/NAME

Prints how many inputs each reader had, and its finds. A find is kept as a folder: the files, and find.json.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from .attempt import PATIENCE_S, Reader, attempt, signature
from .campaign import FIRST_S, SHRINKING_S, Find, Outcome, campaign, sandbox, warm_up
from .readers import all_readers

MEMORY = 12 * 2**30
FIND = "find.json"


def main() -> int:
    """Run the job; the exit code is 1 where there is a find."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Damaged files for every reader."
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="in all")
    parser.add_argument("--reader", action="append", help="only readers whose name begins so")
    parser.add_argument("--seed", type=int, help="of the inputs; by default another one every time")
    parser.add_argument(
        "--finds", type=Path, default=Path("outputs/fuzz"), help="where failing inputs are kept"
    )
    parser.add_argument("--again", type=Path, metavar="FIND", help="read one find again")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    readers = all_readers()
    if arguments.again:
        return _again(readers, arguments.again)
    chosen = [r for r in readers if not arguments.reader or r.name.startswith(tuple(arguments.reader))]
    if not chosen:
        parser.error(f"no such reader: one of {', '.join(reader.name for reader in readers)}")
    seed = int(time.time()) if arguments.seed is None else arguments.seed
    print(f"{len(chosen)} readers, {arguments.minutes:g} minutes, --seed {seed}", flush=True)
    warm_up()
    total = found = 0
    until = time.monotonic() + 60 * arguments.minutes
    for number, reader in enumerate(chosen):
        outcome = _apart(reader, (until - time.monotonic()) / (len(chosen) - number), seed)
        total, found = total + outcome.inputs, found + len(outcome.finds)
        print(f"{reader.name}: {outcome.inputs} inputs, {len(outcome.finds)} finds", flush=True)
        for count, find in enumerate(outcome.finds.values()):
            kept = _keep(reader, find, arguments.finds / f"{reader.name.replace(' ', '_')}-{count}")
            print(f"    {find.signature}: {find.count} times, smallest in {kept}", flush=True)
    print(f"{total} inputs, {found} finds")
    return int(found > 0)


def _apart(reader: Reader, seconds: float, seed: int) -> Outcome:
    """The campaign in a process of its own, which may die or hang."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    with sandbox() as folder:
        process = context.Process(target=_child, args=(theirs, reader, seconds, seed, folder))
        process.start()
        theirs.close()
        try:
            patience = max(seconds, 0) + FIRST_S + 4 * (SHRINKING_S + PATIENCE_S)
            if ours.poll(patience):
                return ours.recv()
            return _death("no end, even with SIGALRM", folder)
        except EOFError:
            process.join()
            return _death(f"the process ended with {process.exitcode}", folder)
        finally:
            process.kill()
            process.join()


def _child(pipe: Connection, reader: Reader, seconds: float, seed: int, folder: Path) -> None:
    with open("/dev/null", "w") as sink:  # noqa: PTH123
        sys.stderr = sink
        try:
            outcome = campaign(reader, seconds=seconds, seed=seed, parent=folder)
        except BaseException as error:  # the valid files, too, are refused
            what = f"valid files: {signature(error)}"
            outcome = Outcome(1, {what: Find(what, "", b"", traceback.format_exc())})
        pipe.send(outcome)


def _death(what: str, folder: Path) -> Outcome:
    """A find whose files are those that lie in the folder now; which of them was attacked is not known."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    texts = {path.name: path.read_bytes() for path in files}
    name = max(texts, key=lambda key: len(texts[key])) if texts else ""
    return Outcome(1, {what: Find(what, name, texts.get(name, b""), repr(texts)[:4_000])})


def _keep(reader: Reader, find: Find, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for path, valid in reader.files.items():
        (folder / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / path).write_bytes(find.content if path == find.name else valid)
    about = {"reader": reader.name, "file": find.name, "signature": find.signature, "traceback": find.trace}
    (folder / FIND).write_text(json.dumps(about, indent=2))
    return folder


def _again(readers: list[Reader], folder: Path) -> int:
    """Read a find again; what comes out is raised."""
    about = json.loads((folder / FIND).read_text())
    (reader,) = (reader for reader in readers if reader.name == about["reader"])
    with sandbox() as inner:
        attempt(reader, "", b"", inner, FIRST_S)
        attempt(reader, about["file"], (folder / "files" / about["file"]).read_bytes(), inner)
    print("nothing comes out but what may")
    return 0


if __name__ == "__main__":
    sys.exit(main())
