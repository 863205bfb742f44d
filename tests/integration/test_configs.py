"""Every config file composes, and every part that needs no weights can be made from it."""

import json
from pathlib import Path

import pytest
from composed import composed
from omegaconf import OmegaConf

from fuse_repro import schema
from fuse_repro.cli import main
from fuse_repro.runners.build import build, build_fit

CONF = schema.config_folder()
EXPERIMENTS = sorted(
    path.relative_to(CONF / "experiment").with_suffix("").as_posix()
    for path in (CONF / "experiment").rglob("*.yaml")
)
PARTS = [
    (path.parent.name, path.stem)
    for group in ("adapter", "corpus", "optimizer")
    for path in sorted((CONF / group).glob("*.yaml"))
]

# What the tiny models, which share some fifty tokens, need; and training that is short.
SHORT = ["adapter.steps=4", "adapter.batch_size=4", "adapter.width=16"]
FEW_ANCHORS = {
    "auto": ["adapter.holdout=10"],
    "projector": ["adapter.holdout=10"],
    "relative": ["adapter.holdout=10"],
    "relative_paper": ["adapter.k=20"],
    "trained": SHORT,
    "trained_linear": SHORT,
    "trained_mlp": SHORT,
}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_resolves(experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    OmegaConf.resolve(config)
    assert config.name
    assert config.runner._target_.startswith("fuse_repro.runners.")


@pytest.mark.parametrize(
    "experiment",
    [
        "fuse_paper_defaults",
        "fuse/table1_coco",
        "fuse/table1_nocaps",
        "fuse/table2_senticap",
        "fuse/figure3",
    ],
)
def test_the_papers_searches_take_a_fixed_number_of_tokens(experiment: str) -> None:
    """FUSE, section 4.2 and Figure 3: nothing stops early, and a caption may end inside a sentence."""
    optimizer = composed(f"experiment={experiment}").optimizer
    assert (optimizer.stop, optimizer.patience) == ("never", 0)
    assert (optimizer.candidates, optimizer.beam) == (512, 5)


@pytest.mark.parametrize(("group", "option"), PARTS)
def test_every_part_can_be_made(group: str, option: str, tmp_path: Path) -> None:
    text = tmp_path / "words.txt"
    text.write_text("a cat and a dog")
    extra = [f"corpus.path={text}"] if option == "text_file" else []
    config = composed("experiment=caption", f"{group}={option}", *extra)
    assert (build_fit if group == "adapter" else build)(config[group]) is not None


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
def test_every_config_file_says_what_it_is(option: str) -> None:
    assert (CONF / "model" / f"{option}.yaml").read_text().startswith("# ")


def test_the_demo_runs_on_tiny_models(tiny_overrides: list[str], photos: Path, tmp_path: Path) -> None:
    overrides = ["experiment=demo", *tiny_overrides[1:], "dataset=photos", f"dataset.path={photos}"]
    assert main([*overrides, f"output_dir={tmp_path / 'run'}"]) == 0
    assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("adapter", sorted(path.stem for path in (CONF / "adapter").glob("*.yaml")))
def test_every_adapter_carries_gradients_of_a_caption_search(
    adapter: str, tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    if adapter == "direct":
        pytest.skip("the tiny models have embeddings of different sizes")
    few_anchors = FEW_ANCHORS.get(adapter, [])
    overrides = [
        *tiny_overrides,
        f"adapter={adapter}",
        f"dataset.path={photos}",
        "dataset.limit=1",
        *few_anchors,
    ]
    assert main([*overrides, f"output_dir={tmp_path / 'run'}"]) == 0
    timing = json.loads((tmp_path / "run" / "results.json").read_text())["timing"]
    assert ("training" in timing) == adapter.startswith("trained")
