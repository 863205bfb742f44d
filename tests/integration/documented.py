"""The `fuse-repro` commands that README, docs, benchmarks and --help show, as a reader would type them."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fuse_repro.help import help_text

ROOT = Path(__file__).parents[2]
PROGRAM = "fuse-repro"
INLINE = re.compile(r"`(fuse-repro [^`]+)`")
COMMAND = re.compile(r"^(?:for .*; do )?(fuse-repro .*?)(?:; done)?$")
FILES = [
    "README.md",
    "benchmarks/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]

# What stands for something of the reader's own, as a word of a command: what it is filled with.
WORDS = {
    "[--older-than": "--older-than",
    "DAYS": "3",
    "|": "",
    "--all]": "",
    "[--dry-run]": "--dry-run",
    "[DIR": "",  # report DIR [DIR ...]
    "[--figures": "--figures",
    "FOLDER]": "figures",
    "...]": "",
    "DIR": "somewhere",
    "SWEEP_DIR": "somewhere",
}
# The same inside a word.
PARTS = {
    "PHOTOS": "photos",
    "LAMA": "lama",
    "COCO": "coco",
    "FLICKR": "flickr30k",
    "SENTICAP": "senticap",
    "MODELS": "models",
    "$FUSE_REPRO_DATA": "data",
    "$a": "2",
    "/...": "/other",
}
# What "..." stands for, by the words that it is seen with; the first that fits.
ELLIPSES = {
    "hydra/sweeper=optuna": "experiment=demo objective.image.weight=interval(1.0,30.0) "
    "'hydra.sweeper.metrics={objective.terms.image.raw: minimize}'",
    "-m": "experiment=demo adapter=fuse,random",
    "experiment=": "dataset.path=photos",
    "--paper": "",
}


@dataclass(frozen=True)
class Documented:
    """A command: the file and line where it begins, and its arguments with every placeholder filled."""

    place: str
    arguments: tuple[str, ...]


def documented() -> list[Documented]:
    """Every command of FILES, of the docstrings of benchmarks/*.py and of the help, in this order."""
    found = [command for name in FILES for command in _of_page(name)]
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False) or ""
        found += _of_text(f"benchmarks/{path.name}", text.splitlines())
    # a description stands two blanks or more behind the command
    shown = [re.sub(r"(\S) {2,}.*", r"\1", line) for line in help_text().splitlines()]
    return [*found, *_of_text("--help", shown)]


def _of_page(name: str) -> Iterator[Documented]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    yield from _of_text(name, lines)
    for number, line in enumerate(lines, start=1):
        for text in INLINE.findall(line):
            yield Documented(f"{name}:{number}", _filled(text, {}))


def _of_text(name: str, lines: list[str]) -> Iterator[Documented]:
    """The lines that begin with the program's name, with the lines that continue them."""
    variables = _variables(lines)
    for number, line in enumerate(lines, start=1):
        if match := COMMAND.match(line.strip()):
            text = " ".join([match[1].removesuffix("\\"), *_continued(lines[number - 1 :])])
            yield Documented(f"{name}:{number}", _filled(text, variables))


def _continued(lines: list[str]) -> Iterator[str]:
    """What continues a command: lines after a backslash, or, in an indented block, lines indented deeper."""
    first, *rest = lines
    before, depth = first, len(first) - len(first.lstrip())
    for line in rest:
        deeper = depth and len(line) - len(line.lstrip()) > depth
        if not (before.endswith("\\") or deeper) or not line.strip():
            return
        yield line.strip().removesuffix("\\")
        before = line


def _variables(lines: list[str]) -> dict[str, str]:
    """`C="..."` of a code block as $C, and the lines below "where COMMON is" as COMMON."""
    text = "\n".join(lines)
    found = {
        f"${name}": value for name, value in re.findall(r'^ *(\w+)="([^"$]*[^"]*)"$', text, re.MULTILINE)
    }
    if common := re.search(r"where COMMON is\n((?: {4}.*\n?)+)", text):
        found["COMMON"] = common[1]
    return {name: " ".join(value.split()) for name, value in found.items()}


def _filled(text: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    for name, value in variables.items():
        text = text.replace(name, value)
    if "..." in shlex.split(text, comments=True):
        meant = next(filling for seen, filling in ELLIPSES.items() if seen in text)
        text = re.sub(r"(?<=\s)\.\.\.(?=\s|$)", meant, text)
    words = []
    for word in shlex.split(text, comments=True)[1:]:
        word = WORDS.get(word, word)
        for part, filling in PARTS.items():
            word = word.replace(part, filling)
        words.append(word)
    return tuple(filter(None, words))
