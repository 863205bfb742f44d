"""The library's own calls: what they take, what they refuse, and that they leave the user's program alone."""

from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from omegaconf import OmegaConf
from PIL import Image
from tiny_models import save_model, tiny_bert_encoder, tiny_clip, tiny_gpt2, tiny_llama

from fuse_repro import RelativePromptTransfer, UsageError, caption, load_model, move_prompt
from fuse_repro.adapters import AutoMap, LocalMap, LookupMap, RidgeMap, SparseMap
from fuse_repro.library.packaged import packaged
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.prompts import SoftPrompt, save_peft
from fuse_repro.schema import config_folder
from fuse_repro.search import RandomSearch

CALIBRATED = partial(RelativePromptTransfer.fit, calibrate=True, holdout=10)


@pytest.fixture(scope="module")
def source() -> CausalLM:
    return tiny_gpt2()


@pytest.fixture(scope="module")
def target() -> CausalLM:
    return tiny_llama()


def test_a_map_that_is_given_is_used_and_nothing_is_fitted(source: CausalLM, target: CausalLM) -> None:
    fitted = RidgeMap.fit(source, target)
    prompt = torch.randn(2, 32)
    moved = move_prompt(prompt, source, target, adapter=fitted)
    assert moved.adapter is fitted
    assert moved.arrival is None
    assert moved.loss is None
    torch.testing.assert_close(moved.embeddings, fitted.transfer(prompt))
    again = move_prompt(prompt, source, target, adapter=RidgeMap.fit, words=())
    torch.testing.assert_close(again.embeddings, moved.embeddings)
    with pytest.raises(
        UsageError, match=r"adapter='tiny_gpt2 -> tiny_llama' is not allowed: a map of tiny_llama"
    ):
        move_prompt(torch.randn(2, 48), target, source, adapter=fitted)


def test_a_map_that_is_chosen_says_by_what(source: CausalLM, target: CausalLM) -> None:
    prompt = torch.randn(2, 32)
    moved = move_prompt(prompt, source, target, adapter=AutoMap.fit, words=())
    assert moved.choice is not None
    assert moved.choice.criterion == "words"
    chosen = {"ridge": RidgeMap, "sparse": SparseMap, "local": LocalMap}[moved.choice.chosen]
    assert isinstance(moved.adapter, chosen)
    torch.testing.assert_close(moved.embeddings, chosen.fit(source, target).transfer(prompt))
    assert move_prompt(prompt, source, target, adapter=RidgeMap.fit, words=(), expect=False).choice is None
    with pytest.raises(UsageError, match="moves prompts from one source only"):
        move_prompt([prompt, prompt], [source, source], target, adapter=AutoMap.fit, words=())


@pytest.mark.parametrize("kind", [RidgeMap, SparseMap, LocalMap])
def test_what_is_expected_is_told_by_words_that_the_map_was_not_fitted_on(
    kind: type[RidgeMap], source: CausalLM, target: CausalLM
) -> None:
    """Two models of random embeddings: no map can know where a word arrives that it has not seen."""
    arrival = move_prompt(torch.randn(2, 32), source, target, adapter=kind.fit, words=()).arrival
    assert arrival is not None
    assert arrival.recall < 0.3
    assert arrival.cosine < 0.4


def test_several_sources_have_one_prompt_each(source: CausalLM, target: CausalLM) -> None:
    other = tiny_gpt2(seed=1)
    prompts = [torch.randn(2, 32), torch.randn(2, 32)]
    moved = move_prompt(prompts, [source, other], target, adapter=CALIBRATED, words=(), weights=[1.0, 0.5])
    assert moved.embeddings.shape == (2, 48)
    assert moved.loss is not None
    assert moved.arrival is not None
    with pytest.raises(
        UsageError, match="prompts=1 is not allowed: as many as there are sources, which are 2"
    ):
        move_prompt(prompts[:1], [source, other], target)
    with pytest.raises(UsageError, match="RidgeMap moves prompts from one source only"):
        move_prompt(prompts, [source, other], target, adapter="ridge", words=())


def test_a_prompt_of_other_weights_is_refused_unless_forced(
    source: CausalLM, target: CausalLM, tmp_path: Path
) -> None:
    other = tiny_gpt2(seed=1)
    save_peft(SoftPrompt(torch.randn(2, 32), "prefix", other.name, other.fingerprint), tmp_path, other)
    with pytest.raises(UsageError, match="made for other weights"):
        move_prompt(tmp_path, source, target, adapter="ridge", words=())
    moved = move_prompt(tmp_path, source, target, adapter="ridge", words=(), force=True, expect=False)
    assert moved.embeddings.shape == (2, 48)
    with pytest.raises(UsageError, match="whose embeddings have size 48"):
        move_prompt(torch.randn(2, 32), target, source)


def test_maps_are_kept_where_that_is_asked_for_and_nowhere_else(
    source: CausalLM, target: CausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSE_REPRO_CACHE", str(tmp_path / "usual"))
    arguments = (torch.randn(2, 32), source, target)
    first = move_prompt(*arguments, adapter=CALIBRATED, words=(), expect=False)
    assert list(tmp_path.iterdir()) == []
    kept = move_prompt(*arguments, adapter=CALIBRATED, words=(), expect=False, cache_dir=tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    torch.testing.assert_close(kept.embeddings, first.embeddings)


def test_one_image_gives_one_caption_and_several_a_list(source: CausalLM) -> None:
    vision = tiny_clip()
    photo = Image.new("RGB", (20, 20), "red")
    search = RandomSearch(tokens=3, steps=2, max_evaluations=8, seed=0)
    one = caption(photo, source, vision, optimizer=search, fluency_weight=2.0)
    several = caption((photo, photo), source, vision, optimizer=search, fluency_weight=2.0)
    assert several == [one, one]
    assert str(one) == one.text  # type: ignore[union-attr]
    assert one.terms["fluency"]["weighted"] == pytest.approx(2 * one.terms["fluency"]["raw"])  # type: ignore[union-attr]


def test_what_a_caption_cannot_be_made_with_is_one_line(source: CausalLM, tmp_path: Path) -> None:
    photo, vision = Image.new("RGB", (20, 20)), tiny_clip()
    with pytest.raises(UsageError, match=r"language_model='ClipDualEncoder' is not allowed: a CausalLM"):
        caption(photo, vision, vision)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"image_text_model='TextEncoder' is not allowed: a DualEncoder"):
        caption(photo, source, tiny_bert_encoder())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="images=3 is not allowed: PIL images, or the paths"):
        caption([photo, 3], source, vision)  # type: ignore[list-item]
    with pytest.raises(UsageError, match=r"none.png does not exist"):
        caption(tmp_path / "none.png", source, vision)
    with pytest.raises(UsageError, match=r"optimizer='autodam' is not allowed: one of .*autodan"):
        caption(photo, source, vision, optimizer="autodam")
    with pytest.raises(UsageError, match="optimizer='optiprompt' is not allowed: a search for texts"):
        caption(photo, source, vision, optimizer="optiprompt")
    wrong = LookupMap.fit(source, tiny_bert_encoder())
    with pytest.raises(
        UsageError, match="adapter='tiny_gpt2 -> tiny_bert' is not allowed: a map of tiny_gpt2"
    ):
        caption(photo, source, vision, adapter=wrong)


def test_models_have_the_names_of_the_command(source: CausalLM, tmp_path: Path) -> None:
    save_model(source, tmp_path / "smollm2_135m")
    save_model(source, tmp_path / "gemma3_270m")
    assert load_model("smollm2_135m", models_dir=tmp_path).fingerprint == source.fingerprint
    with pytest.raises(UsageError, match="set accept_terms=true"):
        load_model("gemma3_270m", models_dir=tmp_path)
    assert load_model("gemma3_270m", models_dir=tmp_path, accept_terms=True).name == "gemma3_270m"
    with pytest.raises(UsageError, match=r"model='smollm3' is not allowed: one of .*smollm2_135m"):
        load_model("smollm3")


def test_a_program_that_is_a_hydra_application_goes_on() -> None:
    from hydra import compose, initialize_config_dir

    folder = str(Path(__file__).parents[3] / "conf" / "adapter")
    with initialize_config_dir(version_base="1.2", config_dir=folder):
        own = GlobalHydra.instance().hydra
        assert packaged({"adapter": "ridge"}).adapter._target_.endswith("RidgeMap.fit")
        assert GlobalHydra.instance().hydra is own
        assert str(VersionBase.instance().getbase()) == "1.2"
        assert compose("lookup").dtype == "float32"


@pytest.mark.parametrize("name", sorted(path.stem for path in (config_folder() / "model").glob("*.yaml")))
def test_the_config_of_every_model_is_whole_without_the_command(name: str) -> None:
    """What a config computes is known to the library by itself."""
    for known in ("dtype_for_memory", "shard_count", "paper_cell"):
        OmegaConf.clear_resolver(
            known
        )  # as if nothing but the library had been imported; it makes all of them known
    config = packaged({"model@model": name})
    assert OmegaConf.to_container(config.model, resolve=True)["name"]
