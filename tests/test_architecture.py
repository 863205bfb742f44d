"""The house: no circle between files, and every room imports lower floors only, as docs/architecture.md has them.

The imports are read from the source, those inside functions and under TYPE_CHECKING included.
"""

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "fuse_repro"
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
RUNNERS_APART = (
    "search",
    "transfer",
    "fidelity",
    "known_truth",
)  # jobs of runners/, each of which could be taken away


def imports(source: str, module: str, modules: Mapping[str, object]) -> set[str]:
    """The modules of ours that a module imports, wherever in it; `from package import name` may name a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{origin}.{alias.name}"
                found.add(name if name in modules else origin)
    return {name for name in found if name in modules and name != module}


@cache
def graph() -> dict[str, set[str]]:
    """Module -> modules that it imports, of the whole package."""
    files = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        files[".".join(parts).removesuffix(".__init__")] = path
    return {module: imports(path.read_text("utf-8"), module, files) for module, path in files.items()}


def room(module: str) -> str:
    """The first folder or file below the package; the package itself, which holds its version, is none."""
    return module.split(".")[1] if "." in module else ""


def rows() -> list[tuple[int, str]]:
    """Floor and room of every row of the page's table."""
    found = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    return [(int(floor), name) for floor, name in found]


def arrows() -> Iterator[tuple[str, str]]:
    """Every import from one room to another, as modules."""
    for module, others in graph().items():
        yield from (
            (module, other)
            for other in others
            if room(module) != room(other) and room(module) and room(other)
        )


def test_no_circle_between_files() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_every_room_imports_lower_floors_only() -> None:
    floors = {name: floor for floor, name in rows()}
    wrong = [
        f"{one} (floor {floors[room(one)]}) imports {other} (floor {floors[room(other)]})"
        for one, other in arrows()
        if room(one) in floors and room(other) in floors and floors[room(one)] <= floors[room(other)]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_the_package_itself_imports_nothing() -> None:
    assert graph()["fuse_repro"] == set()


def test_every_room_stands_in_the_table_once() -> None:
    names = [name for _, name in rows()]
    assert len(names) == len(set(names))
    assert set(names) == {room(module) for module in graph()} - {""}


def test_the_table_and_the_picture_of_floors_are_one() -> None:
    drawn = re.findall(r"^ +(\d+) +│ ([\w ]+?) +│", PAGE, flags=re.MULTILINE)
    assert [int(floor) for floor, _ in drawn] == list(range(len(drawn) - 1, -1, -1))
    picture = {(int(floor), name) for floor, names in drawn for name in names.split()}
    assert picture == set(rows())


@pytest.mark.parametrize("job", RUNNERS_APART)
def test_the_jobs_of_the_runners_stand_side_by_side(job: str) -> None:
    """None imports another, nor what runs or counts them."""
    allowed = {"assemble", "build", "objective", "trainer", "values", "quiet", "shards", job}
    for module, others in graph().items():
        if module.startswith(f"fuse_repro.runners.{job}."):
            used = {name.split(".")[2] for name in others if name.startswith("fuse_repro.runners.")}
            assert used <= allowed, module


@pytest.mark.parametrize(
    "text",
    [
        "import package.b",
        "from package.b import thing",
        "from package import b",
        "from . import b",
        "from .b import thing",
        "def f():\n    from package.b import thing",
        "if TYPE_CHECKING:\n    from package import b",
        "class C:\n    def f(self):\n        import package.b as c",
    ],
)
def test_no_import_goes_unseen(text: str) -> None:
    assert imports(text, "package.a", {"package.a": 0, "package.b": 0}) == {"package.b"}


def test_the_top_level_is_there_in_a_fresh_clone() -> None:
    kept = subprocess.run(
        ["git", "ls-files", "--cached"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if kept.returncode:
        pytest.skip("not a git checkout")
    files = kept.stdout.splitlines()
    for name in ("conf", "fuse_repro", "tests", "outputs", "docs"):
        assert any(file.startswith(f"{name}/") for file in files), name
    assert {"pyproject.toml", "README.md", "outputs/README.md"} <= set(files)
    assert [file for file in files if file.startswith("outputs/")] == ["outputs/README.md"]
    ignored = subprocess.run(["git", "check-ignore", "-q", "outputs/caption"], cwd=REPOSITORY, check=False)
    assert ignored.returncode == 0


def test_the_glossary_is_in_order_and_plain() -> None:
    text = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\*\*(.+?)\*\*: \S.*[.)]$", text, flags=re.MULTILINE)
    assert len(terms) == text.count("\n**")
    keys = [re.sub(r"[^a-z ]", "", term.casefold()) for term in terms]
    assert keys == sorted(set(keys))


@pytest.mark.parametrize(
    "name", ["manifest.json", "status.json", "records.jsonl", "times.jsonl", "results.json"]
)
def test_the_page_of_outputs_names_the_files_of_a_run(name: str) -> None:
    assert f"`{name}`" in (REPOSITORY / "outputs" / "README.md").read_text(encoding="utf-8")
