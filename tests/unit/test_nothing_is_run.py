"""docs/security.md: nothing that comes from outside is run. Shown by the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import fuse_repro

PACKAGE = Path(fuse_repro.__file__).parent
SOURCES = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "hydra_plugins").rglob("*.py")]
RUNS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
UNPICKLES = {"pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open", "yaml.load"}


def calls() -> Iterator[tuple[str, str, dict[str, object]]]:
    """Every call in the package: where it stands, what it calls, and its keyword arguments that are constants."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                given = {
                    k.arg: k.value.value for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)
                }
                yield f"{path.name}:{node.lineno}", ast.unparse(node.func), given


def test_no_text_is_run_and_nothing_is_unpickled() -> None:
    assert [(where, name) for where, name, _ in calls() if name in RUNS | UNPICKLES] == []


def test_no_program_is_started_by_a_shell() -> None:
    assert [where for where, _, given in calls() if given.get("shell")] == []


def test_torch_loads_tensors_only() -> None:
    loads = [(where, given) for where, name, given in calls() if name == "torch.load"]
    assert loads
    assert [where for where, given in loads if given.get("weights_only") is not True] == []
    fits = [
        (where, given) for where, name, given in calls() if name.endswith(".fit") and "ckpt_path" in given
    ]
    assert [where for where, given in fits if given.get("weights_only") is not True] == []


def test_transformers_runs_no_code_of_a_repository() -> None:
    loads = [(where, name, given) for where, name, given in calls() if name.endswith(".from_pretrained")]
    assert loads
    for where, name, given in loads:
        assert given.get("local_files_only") is True, f"{where}: {name} may use the network"
        assert not given.get("trust_remote_code"), f"{where}: {name} runs code of a repository"
