"""examples/first_steps.ipynb runs offline, on tiny models under the names that it uses; what it shows is complete."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from word_models import save_four

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_steps.ipynb"
BOOK = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CODE = [cell for cell in BOOK["cells"] if cell["cell_type"] == "code"]
NAMES = {"source": "smollm2_135m", "target": "gemma3_270m", "encoder": "minilm", "vision": "clip_vit_b32"}


def test_every_cell_runs_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError("there is no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    save_four(tmp_path / "models", **NAMES)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.png")
    own = {
        "MODELS": tmp_path / "models",
        "PHOTO": tmp_path / "photo.png",
        "VISION": NAMES["vision"],
        "TERMS": True,
    }
    variables: dict[str, Any] = {}
    for cell in CODE:
        exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), variables)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert set(own) <= set(variables)
            variables |= own
    printed = capsys.readouterr().out
    assert re.search(r"\(\d+, 32\) -> \(\d+, 48\)", printed)
    assert "150 held-out words" in printed
    assert "captions tried" in printed


def test_what_it_shows_is_complete_and_names_no_machine() -> None:
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    for cell in CODE:
        prints = "print(" in "".join(cell["source"])
        assert bool(cell["outputs"]) == prints
        assert all(output["output_type"] == "stream" for output in cell["outputs"])
    shown = json.dumps([cell["outputs"] for cell in CODE])
    assert not re.search(r"/(home|root|tmp|mnt|Users)/", shown)
    assert BOOK["nbformat"] == 4
