"""The demo photos really come out of the wheel, verified; offline the test says so and is skipped."""

import os
import re
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from fuse_repro.data.demo_photos import DEMO_PHOTOS, DemoPhotoData
from fuse_repro.data.images import load_image
from fuse_repro.errors import UsageError

CONF = Path(__file__).parents[3] / "conf" / "dataset"


def test_every_photo_names_its_origin_and_hash() -> None:
    assert len({photo.member for photo in DEMO_PHOTOS}) == 4
    for photo in DEMO_PHOTOS:
        assert photo.license.startswith(("CC0", "Public domain"))
        assert photo.source
        assert re.fullmatch("[0-9a-f]{64}", photo.sha256)


@pytest.mark.weights
def test_the_photos_come_out_of_the_wheel() -> None:
    root = OmegaConf.create({"cache_dir": None, "dataset": OmegaConf.load(CONF / "demo.yaml")})
    data = instantiate(root.dataset)
    try:
        data.setup("predict")
    except UsageError as err:
        if "could not download" in str(err) and not os.environ.get("CI"):
            pytest.skip(str(err))
        raise
    assert [item.id for item in data.items] == ["chelsea", "coffee", "rocket", "astronaut"]
    sizes = [load_image(item.path).size for item in data.items]
    assert sizes == [(451, 300), (600, 400), (640, 427), (512, 512)]
    assert list(data.predict_dataloader()) == list(data.items)
    assert DemoPhotoData(limit=2).items == data.items[:2]
