"""FUSE's maps in fewer bytes: number formats, low rank, and one map for all long words."""

from pathlib import Path

import pytest
import torch
from tiny_models import tiny_bert_encoder, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import FuseAdapterModule
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TEXT = "An image of a zigzag surfboard next to a giraffe."


@pytest.fixture(scope="module")
def models() -> tuple[FrozenModel, FrozenModel]:
    return tiny_gpt2(), tiny_bert_encoder()


@pytest.fixture(scope="module")
def whole(models: tuple[FrozenModel, FrozenModel]) -> FuseAdapterModule:
    return FuseAdapterModule.fit(*models, WORDS, max_tokens=6)


def pulled(adapter: FuseAdapterModule) -> torch.Tensor:
    alignment = adapter.align([TEXT])
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(*alignment.target_ids.shape, adapter.target.embedding_size, generator=generator)
    return adapter.pullback(gradient, alignment)


@pytest.mark.parametrize(("storage", "error"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_half_precision_halves_the_bytes_and_keeps_the_gradient(models, whole, storage, error) -> None:
    half = FuseAdapterModule.fit(*models, WORDS, max_tokens=6, storage=storage)
    assert half.stored_bytes() * 2 == whole.stored_bytes()
    assert half.map((1,)).dtype == torch.float32
    expected = pulled(whole)
    assert (pulled(half) - expected).norm() < error * expected.norm()


def test_full_rank_is_the_map_and_a_lower_rank_is_the_closest_one(models, whole) -> None:
    sizes = [model.embedding_size for model in models]
    full = FuseAdapterModule.fit(*models, WORDS, max_tokens=6, rank=min(sizes))
    torch.testing.assert_close(pulled(full), pulled(whole), rtol=1e-3, atol=1e-3)
    low = FuseAdapterModule.fit(*models, WORDS, max_tokens=6, rank=3)
    assert low.stored_bytes() * sizes[0] * sizes[1] == whole.stored_bytes() * 3 * sum(sizes)
    face = whole.map((2,))[..., 1]
    left, spread, right = torch.linalg.svd(face)
    closest = left[:, :3] @ torch.diag(spread[:3]) @ right[:3]
    torch.testing.assert_close(low.map((2,))[..., 1], closest, rtol=1e-3, atol=1e-3)
    prompt = torch.randn(2, sizes[0])
    torch.testing.assert_close(low.transfer(prompt), prompt @ low.map((1,))[..., 0], rtol=1e-3, atol=1e-3)


def test_the_pullback_through_factors_is_that_through_their_product(models) -> None:
    low = FuseAdapterModule.fit(*models, WORDS, max_tokens=6, rank=3, beyond="zero")
    dense = FuseAdapterModule(*models, {key: (low.map(key),) for key in low.keys}, low.settings)
    torch.testing.assert_close(pulled(low), pulled(dense), rtol=1e-4, atol=1e-4)


def test_long_words_share_one_map(models, whole) -> None:
    shared = FuseAdapterModule.fit(*models, WORDS, max_tokens=6, share_above=2)
    assert shared.keys == ((1,), (2,), (6,))
    assert all(torch.equal(shared.map(key), whole.map(key)) for key in ((1,), (2,)))
    assert shared.stored_bytes() < whole.stored_bytes()
    long = [word for word in shared.align([TEXT]).words if word.target_count > 2]
    fitted = [word for word in long if shared._choice(word) == (6,)]
    assert fitted
    assert {word.target_count for word in fitted} != {6}


@pytest.mark.parametrize("settings", [{"rank": 3}, {"storage": "bfloat16"}, {"share_above": 2, "rank": 2}])
def test_small_maps_are_kept_and_loaded(tmp_path: Path, models, settings) -> None:
    first = FuseAdapterModule.fit(*models, WORDS, cache_dir=tmp_path, **settings)
    again = FuseAdapterModule.fit(*models, WORDS, cache_dir=tmp_path, **settings)
    (file,) = tmp_path.rglob("*.safetensors")
    loaded = FuseAdapterModule.load(file, *models)
    assert loaded.settings == first.settings
    for other in (again, loaded):
        assert other.state_dict().keys() == first.state_dict().keys()
        assert torch.equal(pulled(other), pulled(first))
        assert other.stored_bytes() == first.stored_bytes()


def test_whole_maps_are_found_under_the_key_that_they_had(whole) -> None:
    assert not {"storage", "rank", "share_above"} & set(whole.inputs["settings"])


@pytest.mark.parametrize("settings", [{}, {"rank": 3}])
def test_every_face_lies_in_one_piece_of_memory(models, settings) -> None:
    adapter = FuseAdapterModule.fit(*models, WORDS, max_tokens=3, **settings)
    assert all(factor[..., 0].is_contiguous() for factor in adapter.buffers())
    assert adapter._map_of(9, torch.zeros(1))[0][..., 0].is_contiguous()


def test_a_rank_above_the_smaller_space_is_refused(models) -> None:
    smaller = min(model.embedding_size for model in models)
    with pytest.raises(UsageError, match=rf"adapter\.rank={smaller + 1} is not allowed: at most {smaller}"):
        FuseAdapterModule.fit(*models, WORDS, rank=smaller + 1)


def test_lengths_that_no_word_has_are_said_in_one_line(models, capsys: pytest.CaptureFixture) -> None:
    FuseAdapterModule.fit(*models, ["cat", "table"], max_tokens=3)
    (line,) = capsys.readouterr().err.splitlines()
    assert "no word of the corpus has" in line
    assert "3 tokens in" in line
    assert "lower adapter.max_tokens" in line
    FuseAdapterModule.fit(*models, WORDS, max_tokens=3)
    assert not capsys.readouterr().err
