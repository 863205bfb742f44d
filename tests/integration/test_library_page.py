"""docs/library.md does what it says: its examples are run as they stand, on tiny models under the names it uses."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from PIL import Image
from word_models import save_four

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
NAMES = {
    "source": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "target": "openai-community/gpt2",
    "encoder": "sentence-transformers/all-MiniLM-L6-v2",
    "vision": "openai/clip-vit-base-patch32",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's variables are once all of its examples have run, in their order, in a folder with a photo."""
    folder = tmp_path_factory.mktemp("reader")
    save_four(folder, **NAMES)
    Image.new("RGB", (40, 30), "red").save(folder / "photo.jpg")
    variables: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        torch.manual_seed(0)
        for example in EXAMPLES:
            exec(compile(example, str(PAGE), "exec"), variables)
    return variables | {"folder": folder}


def test_the_prompt_arrives_and_peft_loads_it(ran: dict[str, Any]) -> None:
    moved, again = ran["moved"], ran["again"]
    assert moved.embeddings.shape == (ran["prompt"].shape[0], 48)
    assert len(moved.words) == len(moved.rows) == len(ran["prompt"])
    assert 0 <= moved.loss <= 2
    assert moved.arrival.words == 150
    assert again.embeddings.shape == ran["prompt"].shape
    assert again.arrival is None
    assert again.loss is None
    loaded = peft.PeftModel.from_pretrained(ran["gpt2"], ran["folder"] / "prompts" / "gpt2")
    torch.testing.assert_close(loaded.get_prompt_embedding_to_save("default"), moved.embeddings)
    assert loaded.peft_config["default"].base_model_name_or_path == NAMES["target"]


def test_the_photograph_has_a_caption(ran: dict[str, Any]) -> None:
    found = ran["found"]
    assert found.prompt == f"An image of {found.text}" or found.text in found.prompt
    assert found.objective == pytest.approx(sum(term["weighted"] for term in found.terms.values()), rel=1e-5)
    assert found.terms["image"]["weighted"] == pytest.approx(10 * found.terms["image"]["raw"], rel=1e-5)


def test_the_gradient_has_the_shape_of_the_source(ran: dict[str, Any]) -> None:
    """That it agrees with a finite difference, the page's last example asserts itself."""
    assert ran["scores"].shape == (len(ran["ids"]), ran["source"].tokenizer.vocab_size)
    assert ran["embeddings"].grad.abs().sum() > 0
    assert abs(float(ran["difference"])) > 1e-5


def test_the_page_names_all_that_it_says_can_be_imported() -> None:
    import fuse_repro

    for name in set(re.findall(r"from fuse_repro import (.+)", TEXT)):
        for one in name.split(", "):
            assert hasattr(fuse_repro, one), one
    for name in fuse_repro.__all__:
        assert getattr(fuse_repro, name) is not None
    assert set(fuse_repro.__all__) <= set(dir(fuse_repro))
    with pytest.raises(AttributeError, match="has no attribute 'moev_prompt'"):
        fuse_repro.moev_prompt


def test_importing_the_package_loads_nothing() -> None:
    program = "import sys, fuse_repro; print(sorted(n for n in sys.modules if n in ('torch', 'hydra', 'transformers')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
