"""CLIP and SigLIP: pooling, agreement with transformers, images."""

import pytest
import torch
from PIL import Image
from tiny_models import save_model, tiny_clip, tiny_siglip

from fuse_repro.errors import UsageError
from fuse_repro.models.clip import ClipDualEncoder
from fuse_repro.models.siglip import SiglipDualEncoder


def test_a_short_text_in_a_batch_is_not_the_empty_text():
    """The released FUSE code pooled shorter candidates at position 1."""
    clip = tiny_clip()
    ids = clip.tokenizer.encode(["a cat", "a baseball player swings his bat"])
    longest = max(map(len, ids))
    padded = torch.tensor(
        [tokens + clip.tokenizer.encode(["!"])[0] * (longest - len(tokens)) for tokens in ids]
    )
    mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in ids])
    batch = clip(clip.embed(padded), mask)
    alone = clip.encode(["a cat", ""])
    torch.testing.assert_close(batch[0], alone[0], rtol=1e-4, atol=1e-5)
    assert (batch[0] - alone[1]).norm() > 1e-2


@pytest.mark.parametrize("build", [tiny_clip, tiny_siglip])
def test_images_equal_those_of_transformers(build):
    clip = build()
    images = [Image.new("RGB", (40, 30), color) for color in ("red", "navy", "white")]
    pixels = clip.image_processor(images, return_tensors="pt")["pixel_values"]
    expected = clip.model.get_image_features(pixel_values=pixels).pooler_output
    got = clip.encode_images(images)
    torch.testing.assert_close(got, torch.nn.functional.normalize(expected, dim=-1))
    torch.testing.assert_close(got.norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_any_image_mode_is_read(mode):
    assert tiny_clip().encode_images([Image.new(mode, (20, 50))]).shape == (1, 24)


def test_no_images_give_no_rows():
    assert tiny_clip().encode_images([]).shape == (0, 24)


def test_loads_what_transformers_saves(tmp_path):
    clip = tiny_clip()
    clip.model.save_pretrained(tmp_path)
    clip.tokenizer.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="no image processor in"):
        ClipDualEncoder.load("clip", "path", path=tmp_path)
    clip.image_processor.save_pretrained(tmp_path)
    loaded = ClipDualEncoder.load("clip", "path", path=tmp_path)
    assert loaded.fingerprint == clip.fingerprint
    torch.testing.assert_close(loaded.encode(["a cat"]), clip.encode(["a cat"]))


def test_siglip_loads_what_transformers_saves(tmp_path):
    siglip = tiny_siglip()
    loaded = SiglipDualEncoder.load("siglip", "path", path=save_model(siglip, tmp_path))
    assert loaded.fingerprint == siglip.fingerprint
    torch.testing.assert_close(loaded.encode(["a cat"]), siglip.encode(["a cat"]))
    assert loaded.encode_images([Image.new("RGB", (40, 30))]).shape == (1, 32)
