"""ConSE and its classifier."""

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_models import tiny_bert_encoder, tiny_conse

from fuse_repro.errors import UsageError
from fuse_repro.models.conse import TEMPLATE, ConseDualEncoder, imagenet_labels
from fuse_repro.models.efficientnet_lite import (
    EfficientNetLite,
    SamePaddedConv,
    preprocess,
    rename_published,
)


def photos(count: int) -> list[Image.Image]:
    pixels = torch.randint(256, (count, 20, 30, 3), dtype=torch.uint8, generator=torch.manual_seed(1))
    return [Image.fromarray(photo.numpy()) for photo in pixels]


@pytest.mark.parametrize("centre", [True, False])
def test_an_image_is_the_weighted_sum_of_its_best_labels(centre):
    conse = tiny_conse()
    conse.centre = centre
    (photo,) = photos(1)
    probabilities = conse.classifier(preprocess([photo], 32)).softmax(dim=-1)[0]
    best = probabilities.argsort(descending=True)[:3]
    texts = conse.encode([TEMPLATE.format(label) for label in conse.labels])
    if centre:
        texts = texts - texts.mean(0)
    expected = torch.nn.functional.normalize(probabilities[best] @ texts[best], dim=-1)
    torch.testing.assert_close(conse.encode_images([photo])[0], expected)


def test_batches_of_images_do_not_matter():
    conse = tiny_conse()
    images = photos(40)
    singles = torch.cat([conse.encode_images([image]) for image in images])
    torch.testing.assert_close(conse.encode_images(images), singles, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(singles.norm(dim=-1), torch.ones(40))
    assert conse.encode_images([]).shape == (0, conse.output_size)


def test_texts_are_those_of_the_text_encoder():
    assert torch.equal(tiny_conse().encode(["a cat"]), tiny_bert_encoder().encode(["a cat"]))


@pytest.mark.parametrize("top", [0, 13])
def test_number_of_labels_must_exist(top):
    conse = tiny_conse()
    with pytest.raises(UsageError, match=f"name.top={top} is not allowed: 1..12"):
        ConseDualEncoder(tiny_bert_encoder(), conse.classifier, conse.labels, name="name", top=top)


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="does not hold EfficientNet-Lite2"):
        ConseDualEncoder.load("conse", tiny_bert_encoder(), "path", path=tmp_path)


def test_damaged_weights_are_one_line(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(UsageError, match=r"conse: cannot load .* \(SafetensorError: "):
        ConseDualEncoder.load("conse", tiny_bert_encoder(), "path", path=tmp_path)


def test_loading_lists_the_files_of_both_parts(tmp_path):
    state = {
        ".".join(
            f"_{part}" if part[0].isalpha() and part not in ("weight", "bias") else part
            for part in name.split(".")
        ): tensor
        for name, tensor in EfficientNetLite().state_dict().items()
    }
    assert rename_published(state).keys() == EfficientNetLite().state_dict().keys()
    save_file(state, tmp_path / "model.safetensors")
    conse = ConseDualEncoder.load("conse", tiny_bert_encoder(), "path", path=tmp_path)
    assert list(conse.weights.files) == ["classifier/model.safetensors"]
    assert len(conse.labels) == 1000


def test_imagenet_has_a_thousand_different_labels():
    labels = imagenet_labels()
    assert len(set(labels)) == len(labels) == 1000
    assert labels[281] == "tabby"
    assert all(label == label.strip() and label for label in labels)


@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(3, 1, 7), (3, 2, 7), (3, 2, 8), (5, 2, 9), (5, 2, 10)]
)
def test_same_padding_keeps_the_size_and_puts_the_odd_pixel_last(kernel, stride, size):
    conv = SamePaddedConv(1, 1, kernel, stride, size)
    output = conv(torch.ones(1, 1, size, size))
    assert output.shape[-1] == conv.output_size == -(-size // stride)
    left, right, top, bottom = conv.edges
    assert (left, right) == (top, bottom)
    assert 0 <= right - left <= 1


def test_lite2_has_the_published_number_of_parameters():
    """6.1 million (Lite2, table of the model's authors)."""
    parameters = sum(parameter.numel() for parameter in EfficientNetLite().parameters())
    assert parameters == pytest.approx(6.1e6, rel=0.01)


def test_preprocessing_maps_bytes_around_zero():
    pixels = preprocess([Image.new("L", (9, 5), 127), Image.new("RGB", (4, 4), (255, 127, 0))], 8)
    assert pixels.shape == (2, 3, 8, 8)
    assert (pixels[0] == 0).all()
    torch.testing.assert_close(pixels[1, :, 0, 0], torch.tensor([1.0, 0.0, -127 / 128]))
